import shutil

import pytest
from mmengine.config import Config

from mmseg_oneformer.errors import UserError
from mmseg_oneformer.evaluation.zoo_tables import format_zoo, markdown_zoo
from mmseg_oneformer.zoo import configs
from mmseg_oneformer.zoo.metafile import read_zoo
from mmseg_oneformer.zoo.weights import weights_states

QUICKSTART = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
GARDEN = """
_base_ = ['../../_base_/models/oneformer.py', '../../_base_/datasets/shapes_panoptic.py']
classes, thing_ids = ('lawn', 'dog'), (1,)
model = dict(
    thing_ids=thing_ids,
    backbone=dict(type='mmdet.ResNet', depth=18),
    head=dict(num_classes=2, pixel_decoder=dict(in_channels=[64, 128, 256, 512])),
)
garden = dict(type='SemanticDataset', data_root='data/garden/', metainfo=dict(classes=classes))
train_dataloader = dict(dataset=dict(_delete_=True, **garden))
"""
"""A config of one's own: a backbone, data and a name that are nowhere else, and no header."""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with two configs, one of them twice."""
    package = tmp_path / 'projects/oneformer/mmseg_oneformer'
    for name in ('_base_/models/parts', 'oneformer/ade20k/oneformer_r50', 'oneformer/twice', 'oneformer/coco/twice'):
        path = tmp_path / f'configs/{name}.py'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (package / 'weights').mkdir(parents=True)
    monkeypatch.setattr(configs, 'PACKAGE', package)
    return tmp_path


def test_find_config__by_name_stem_and_path(checkout):
    path = checkout / 'configs/oneformer/ade20k/oneformer_r50.py'
    assert configs.find_config('oneformer_r50') == configs.find_config('oneformer_r50.py') == path
    assert configs.find_config(str(path)) == configs.find_config(path) == path
    assert configs.list_models() == ['oneformer_r50', 'twice']


@pytest.mark.parametrize(
    ('name', 'sentence'),
    [
        ('oneformer_r5', 'did you mean "oneformer_r50"'),
        ('zzz', '--list shows all names'),
        ('wrong/oneformer_r50.py', 'did you mean "oneformer_r50"'),
        ('parts', 'is neither a config file'),
        ('twice', 'Several configs are named "twice"'),
    ],
)
def test_find_config__mistakes(checkout, name, sentence):
    with pytest.raises(ValueError, match=sentence):
        configs.find_config(name)


def test_list_models__ablations_and_baselines_are_found_by_name_only(checkout):
    for name in ('oneformer/ablations/as_paper', 'mask2former/mask2former_r50'):
        path = checkout / f'configs/{name}.py'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        assert configs.find_config(path.stem) == path
    assert configs.list_models() == ['oneformer_r50', 'twice']


def test_own_configs__are_as_good_as_the_shipped_ones(tmp_path, monkeypatch):
    shipped, tables = configs.list_models(), markdown_zoo()
    shutil.copytree(configs.config_root(), tmp_path / 'configs')
    mine = tmp_path / 'configs/oneformer/test_own'
    mine.mkdir()
    shutil.copy(configs.find_config(QUICKSTART), mine / 'test_own_shapes.py')
    (mine / 'test_own_garden.py').write_text(GARDEN)
    monkeypatch.setattr(configs, 'PACKAGE', tmp_path / 'projects/oneformer/mmseg_oneformer')

    assert configs.config_root() == tmp_path / 'configs'
    assert configs.list_models() == sorted([*shipped, 'test_own_garden', 'test_own_shapes'])
    assert configs.find_config('test_own_garden') == mine / 'test_own_garden.py'
    garden = configs.read_config('test_own_garden', {'model.head.num_queries': 9})
    assert (garden.model.head.num_classes, garden.model.head.num_queries) == (2, 9)
    assert garden.train_dataloader.dataset.type == 'SemanticDataset' and garden.train_cfg.max_iters == 6000
    again, quickstart = (configs.read_config(name).to_dict() for name in ('test_own_shapes', QUICKSTART))
    assert again == quickstart
    rows = [line.split() for line in format_zoo(weights_states()).splitlines()]
    assert ['test_own_garden', 'test_own', '-', '-', '-', '-', '-'] in rows
    assert 'test_own_garden' not in read_zoo() and markdown_zoo() == tables


def test_config_root__a_wheel_has_its_own(checkout):
    own = configs.PACKAGE / 'configs'
    assert configs.config_root() == checkout / 'configs'
    (own / 'oneformer').mkdir(parents=True)
    assert configs.config_root() == own


def test_config_root__nothing_there(tmp_path, monkeypatch):
    monkeypatch.setattr(configs, 'PACKAGE', tmp_path / 'a/b/c')
    with pytest.raises(FileNotFoundError, match='reinstall'):
        configs.config_root()


def test_read_config__base_that_is_no_more(tmp_path):
    path = tmp_path / 'old.py'
    path.write_text(f"_base_ = '{configs.config_root()}/_base_/schedules/adamw.py'\n")
    with pytest.raises(ValueError, match=r'adamw\.py.*; a base is missing, docs/configs\.md lists the parts to use'):
        configs.read_config(path)


def test_read_config__merges_options(toy_config, monkeypatch):
    monkeypatch.syspath_prepend(str(toy_config.parent))
    assert configs.read_config(toy_config, {'model.width': 3}).model.width == 3


@pytest.mark.parametrize(
    ('text', 'sentence'),
    [
        ('a = (\n', r"line 1 of it or of one of its bases: SyntaxError: '\(' was never closed\); correct it"),
        ('a = 1\nb = c\n', r"line 2 of .*own\.py: NameError: name 'c' is not defined\); correct it"),
        ('def f():\n    return 1 / 0\n\n\nx = f()\n', r'line 5 of .*own\.py: ZeroDivisionError'),
        ("_base_ = 'child.py'\n", 'a base is missing, docs/configs.md lists the parts'),
        ("custom_imports = dict(imports='no_such_module')", r'\(ImportError: Failed to import no_such_module\)'),
        ("names = open('/nowhere.txt').read()\n", r'line 1 of .*own\.py: FileNotFoundError.*; correct it'),
    ],
)
def test_read_config__what_it_raises_becomes_a_sentence(tmp_path, text, sentence):
    (tmp_path / 'own.py').write_text(text)
    with pytest.raises(UserError, match=rf'^{tmp_path}/own\.py cannot be read as a config .*{sentence}'):
        configs.read_config(tmp_path / 'own.py')


@pytest.mark.parametrize(
    ('key', 'sentence'), [('train_cfg.max_iters', 'the number 6000'), ('model.data_preprocessor.mean', r'numbers \[')]
)
def test_merge_options__text_for_numbers(key, sentence):
    with pytest.raises(UserError, match=f'option {key}: the config has {sentence}'):
        configs.read_config(QUICKSTART, {key: 'x'})


@pytest.mark.parametrize(
    ('key', 'sentence'),
    [
        (
            'train_dataloader.batchsize',
            r'no train_dataloader.batchsize \(did you mean "batch_size"\?\); a setting that it lacks',
        ),
        ('default_hooks.loger.interval', r'no default_hooks.loger.interval \(did you mean "logger"\?\)'),
        ('model.head.num_querie', r'did you mean "num_queries"'),
        ('test_evaluator.9.type', r'test_evaluator.9.type: "9" is not an index of a list of 3; count from 0'),
        ('test_evaluator.first', 'is not an index of'),
        ('model.head.num_queries.x', r'"x" stands below 20, which has no settings; leave it out'),
        ('max_iters', r'max_iters is a variable of the config file.*set (train_cfg|param_scheduler)'),
        ('num_classes', r'num_classes is a variable .*set model.head.num_classes'),
    ],
)
def test_merge_options__mistakes(key, sentence):
    with pytest.raises(UserError, match=sentence):
        configs.read_config(QUICKSTART, {key: 3})


@pytest.mark.parametrize(
    'key', ['new', 'model.new.part', 'train_dataloader.batch_sampler', 'train_cfg.max_epochs', 'test_evaluator.0.new']
)
def test_merge_options__a_new_key(key):
    cfg = configs.read_config(QUICKSTART, {key: 3})
    assert cfg.to_dict() != configs.read_config(QUICKSTART).to_dict()


def test_merge_options__a_setting_that_the_part_has_beside_one_much_like_it():
    pool = {'type': 'mmdet.ResNet', 'num_stages': 4}
    cfg = Config({'model': {'backbone': {**pool, 'frozen_stage': 1}}})
    configs.merge_options(cfg, {'model.backbone.frozen_stages': 2})
    assert cfg.model.backbone.frozen_stages == 2


def test_require__names_the_setting_and_the_file():
    cfg = configs.read_config(QUICKSTART)
    assert configs.require(cfg, 'test_dataloader.dataset.type') == 'ShapesPanoptic'
    with pytest.raises(UserError, match=rf'has no "test_dataloader.data", which this command needs; .*{QUICKSTART}'):
        configs.require(cfg, 'test_dataloader.data')
    with pytest.raises(UserError, match=r'has no "a\.b", which this command needs; add it to it'):
        configs.require(Config({'a': None}), 'a.b')
