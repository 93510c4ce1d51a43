import pytest
from mmengine.config import Config

from mmseg_oneformer.zoo import configs


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
        ('oneformer_r5', 'did you mean oneformer_r50'),
        ('zzz', '--list shows all names'),
        ('wrong/oneformer_r50.py', 'did you mean oneformer_r50'),
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


def test_config_root__a_wheel_has_its_own(checkout):
    own = configs.PACKAGE / 'configs'
    assert configs.config_root() == checkout / 'configs'
    (own / 'oneformer').mkdir(parents=True)
    assert configs.config_root() == own


def test_config_root__nothing_there(tmp_path, monkeypatch):
    monkeypatch.setattr(configs, 'PACKAGE', tmp_path / 'a/b/c')
    with pytest.raises(FileNotFoundError, match='reinstall'):
        configs.config_root()


def test_list_models__every_shipped_config_is_read():
    for name in configs.list_models():
        Config.fromfile(configs.find_config(name))


def test_read_config__merges_options(toy_config, monkeypatch):
    monkeypatch.syspath_prepend(str(toy_config.parent))
    assert configs.read_config(toy_config, {'model.width': 3}).model.width == 3
