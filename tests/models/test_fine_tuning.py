"""Starting from another model's weights: what is kept, what is reset, and that it is said."""

import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner.checkpoint import CheckpointLoader

from mmseg_oneformer.checkpoints.checkpoint import TRAINING_ONLY, for_inference
from mmseg_oneformer.checkpoints.conversion.convert import from_ours
from mmseg_oneformer.datasets.metainfo import metainfo_of
from mmseg_oneformer.datasets.shapes import ShapesPanoptic
from mmseg_oneformer.models import fine_tuning
from mmseg_oneformer.models.fine_tuning import fine_tune
from mmseg_oneformer.models.oneformer import OneFormer
from mmseg_oneformer.zoo.configs import find_config

MODEL = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
NAMES = ShapesPanoptic.METAINFO['classes']
NUM_CLASSES = len(NAMES)
CLASS_HEAD = {'head.decoder.class_embed.weight', 'head.decoder.class_embed.bias'}


@pytest.fixture
def build():
    """Build the narrow model with weights that differ from seed to seed."""

    def make(seed, num_classes=NUM_CLASSES, inference=False, **options):
        torch.manual_seed(seed)
        cfg = Config.fromfile(find_config(MODEL))
        cfg.merge_from_dict({'model.head.num_classes': num_classes, **options})
        with DefaultScope.overwrite_default_scope('mmdet'):
            model = MODELS.build((for_inference(cfg) if inference else cfg).model)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter)
        return model

    return make


@pytest.fixture
def save(tmp_path):
    """Save a model's weights in one of the forms; the file of the reference code names no classes."""

    def write(model, form='mm', classes=None):
        path = tmp_path / 'source.pth'
        if form == 'mm':
            meta = {'dataset_meta': {'classes': classes}} if classes else {}
            torch.save({'state_dict': model.state_dict(), 'meta': meta}, path)
        else:
            torch.save({'model': from_ours(model.state_dict(), form).state}, path)
        return path

    return write


@pytest.fixture
def told(monkeypatch):
    """What was logged, one text a call."""
    texts = []
    monkeypatch.setattr(fine_tuning, 'say', texts.append)
    return texts


def copied_and_initial(model, source, path, classes=NAMES):
    """Fine-tune and check every tensor of the model; returns the keys that kept their initial values."""
    before = copy.deepcopy(model.state_dict())
    theirs = source.state_dict()
    copied, initial = fine_tune(model, path, classes)
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, theirs[key] if key in copied else before[key]), key
    assert {*copied, *initial} == before.keys()
    return set(initial)


@pytest.mark.parametrize('form', ['mm', 'shi', 'hf'])
def test_fine_tune__other_number_of_classes(build, save, told, form):
    source, model = build(1, num_classes=11), build(2)
    initial = copied_and_initial(model, source, save(source, form))
    assert initial == CLASS_HEAD
    assert f'Fine-tuning: kept {len(model.state_dict()) - 2} tensors of ' in told[-1]
    assert 'source.pth; reset the class head (11 classes there, 7 here).' in told[-1]


def test_fine_tune__as_many_classes(build, save, told):
    source = build(1)
    others = [f'{name} of clay' for name in NAMES]
    for names, kept in ((None, True), (list(NAMES), True), (others, False)):
        initial = copied_and_initial(build(2), source, save(source, classes=names))
        assert initial == (set() if kept else CLASS_HEAD)
        assert ('including its class head' in told[-1]) == kept
        assert ('(the file does not name its classes)' in told[-1]) == (names is None)
        assert (f'reset the class head (class "{NAMES[0]} of clay" there is "{NAMES[0]}" here)' in told[-1]) != kept


def test_fine_tune__classes_of_a_model_by_name(build, save, told, monkeypatch):
    """A published file names no classes; the model of its name does."""
    source = build(1)
    path = save(source, 'shi')
    monkeypatch.setattr('mmseg_oneformer.models.fine_tuning.resolve_weights', lambda checkpoint: path)
    for names, kept in ((NAMES, True), ([f'{name} of clay' for name in NAMES], False)):
        initial = copied_and_initial(build(2), source, MODEL, names)
        assert initial == (set() if kept else CLASS_HEAD)
    assert f'reset the class head (class "{NAMES[0]}" there is "{NAMES[0]} of clay" here)' in told[-1]


def test_fine_tune__weights_for_inference_start_the_text_branch_afresh(build, save, told):
    source, model = build(1, inference=True), build(2)
    initial = copied_and_initial(model, source, save(source))
    assert initial == {key for key in model.state_dict() if key.startswith(TRAINING_ONLY)}
    assert 'initialised a new text branch (' in told[-1]


def test_fine_tune__ablation_without_contrastive_loss_and_with_classifier(build, save, told):
    source, model = build(1), build(2, **{'model.criterion.auxiliary': []})
    assert copied_and_initial(model, source, save(source)) == set()
    assert 'tensors of a text branch that this model does not have' in told[-1]
    with_classifier = build(3, **{'model.criterion.auxiliary': [{'type': 'QueryClassification'}]})
    assert copied_and_initial(with_classifier, source, save(source)) == {
        'criterion.query_classifier.weight',
        'criterion.query_classifier.bias',
    }


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        ({'model.head.num_queries': 25}, r'head\.query_embed\.weight is \(20, 64\) in the file and \(25, 64\)'),
        ({'model.head.decoder.num_layers': 4}, r'18 tensors are missing'),
        ({'model.head.decoder.num_layers': 2}, r'18 tensors are left over'),
        ({'model.text_mapper.num_context': 5}, r'text_mapper\.context\.weight is \(4, 64\)'),
    ],
)
def test_fine_tune__anything_else_has_to_fit(build, save, options, sentence):
    source, model = build(1, num_classes=11), build(2, **options)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=sentence):
        fine_tune(model, save(source))
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_init_weights__of_a_config_that_starts_from_weights_downloads_nothing(build, save, monkeypatch):
    source = build(1, num_classes=11)
    cfg = Config.fromfile(find_config(MODEL))
    cfg.model.init_cfg = dict(type='FineTuneFrom', checkpoint=str(save(source)))
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='https://example.invalid/resnet18.pth')

    def reject(filename, *_, **__):
        raise AssertionError(f'{filename} was requested')

    monkeypatch.setattr(CheckpointLoader, 'load_checkpoint', reject)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
    model.init_weights()
    expected = source.state_dict()
    for key, tensor in model.state_dict().items():
        assert key in CLASS_HEAD or torch.equal(tensor, expected[key]), key


def test_metainfo_of__inner_data_set_without_files():
    dataset = dict(type='RepeatDataset', times=2, dataset=dict(type='ShapesPanoptic', ann_file='none.json'))
    assert tuple(metainfo_of(dataset)['classes']) == tuple(NAMES)


SHORT = (
    *('train_cfg.max_iters=2', 'train_cfg.val_interval=9', 'default_hooks.checkpoint.interval=1'),
    *('train_dataloader.batch_size=2', 'train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False'),
    *('val_dataloader.num_workers=0', 'val_dataloader.persistent_workers=False'),
)


def test_train__from_a_checkpoint_of_the_reference_code_with_one_option(
    build, save, call_tool, tmp_path, monkeypatch, capsys
):
    assert call_tool('dataset_converters/make_shapes.py', '--out', 'data/shapes', '--train', 4, '--val', 2) == 0
    source = build(1, num_classes=11)
    for parameter in source.parameters():
        torch.nn.init.uniform_(parameter, -0.05, 0.05)
    path = save(source, 'shi')
    first = {}
    train_step = OneFormer.loss

    def note(model, *args):
        first.setdefault('state', copy.deepcopy(model.state_dict()))
        return train_step(model, *args)

    monkeypatch.setattr(OneFormer, 'loss', note)
    assert call_tool('train.py', MODEL, '--fine-tune-from', path, '--work-dir', 'run', '--cfg-options', *SHORT) == 0
    expected = source.state_dict()
    assert first['state'].keys() == expected.keys()
    for key, tensor in first['state'].items():
        if key in CLASS_HEAD:
            assert len(tensor) == len(NAMES) + 1
        elif 'running' not in key and 'tracked' not in key:  # The first step's forward pass is a step of these.
            assert torch.equal(tensor, expected[key]), key
    assert 'reset the class head (11 classes there, 7 here)' in capsys.readouterr().out
    assert torch.load(tmp_path / 'run/iter_2.pth', weights_only=False)['meta']['iter'] == 2

    # Going on needs the run's checkpoint and no longer the other one.
    (tmp_path / 'run/iter_2.pth').unlink()
    path.unlink()
    command = ('train.py', MODEL, '--fine-tune-from', path, '--work-dir', 'run', '--resume')
    assert call_tool(*command, '--cfg-options', *SHORT) == 0
    assert (tmp_path / 'run/iter_2.pth').is_file()
    assert call_tool('train.py', MODEL, '--fine-tune-from', path, '--work-dir', 'new', '--cfg-options', *SHORT) == 2
    assert 'There is no checkpoint at' in capsys.readouterr().err


def test_train__fine_tuning_is_for_oneformer(call_tool, toy_config, capsys):
    assert call_tool('train.py', toy_config, '--fine-tune-from', 'a.pth') == 2
    assert 'fine-tuning is for OneFormer, not for ToyModel' in capsys.readouterr().err
