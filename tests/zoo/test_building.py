import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS, MODELS, TRANSFORMS, DefaultScope
from torch import nn

import mmseg_oneformer.evaluation  # noqa: F401  (registers the metrics)
from mmseg_oneformer.errors import UserError
from mmseg_oneformer.zoo.building import build_part, explain_mistakes
from mmseg_oneformer.zoo.configs import read_config

QUICKSTART = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'


@MODELS.register_module()
class WithBugs(nn.Module):
    """A part of ours, or of a user, that the config states as it should."""

    def __init__(self, size: int = 3, error: str = '') -> None:
        super().__init__()
        if error == 'key':
            {}['size']
        if error == 'type':
            torch.zeros(size, weird=1)
        if error == 'value':
            torch.zeros(2) + torch.zeros(3)
        if error == 'raised':
            raise ValueError('size')


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        ({'model.type': 'OneFromer'}, 'there is no model "OneFromer" (did you mean "OneFormer"?)'),
        ({'model.backbone.type': 'mmdet.ResNett'}, 'there is no model "mmdet.ResNett" (did you mean "mmdet.ResNet"?)'),
        ({'model.head.foo': 3}, 'OneFormerHead has no setting "foo"'),
        (
            {'model.head.decoder': {'num_layer': 3}},
            'MaskedDecoder has no setting "num_layer" (did you mean "num_layers',
        ),
        ({'model.foo': 3}, 'OneFormer has no setting "foo"'),
        ({'model.criterion.auxiliary': [{'type': 'Foo'}]}, 'there is no model "Foo"'),
        ({'model.criterion.auxiliary': [{'type': 'ContrastiveLoss', 'lvel': 3}]}, '(did you mean "level"?)'),
        ({'model': {'type': 'OneFormer', '_delete_': True}}, 'OneFormer needs the setting "backbone"'),
        ({'model.backbone': None}, 'the setting "backbone" of OneFormer is None, not dict'),
        ({'model.head.num_queries': [1]}, 'the setting "num_queries" of OneFormerHead is [1], not int'),
    ],
)
def test_build_part__mistakes_in_a_model(options, sentence):
    cfg = read_config(QUICKSTART, options)
    with DefaultScope.overwrite_default_scope('mmdet'), pytest.raises(UserError) as raised:
        build_part(MODELS, cfg.model)
    assert sentence in str(raised.value) and str(raised.value).endswith('; correct this part of the config.')


@pytest.mark.parametrize(
    ('registry', 'config', 'sentence'),
    [
        (MODELS, {'type': 'mmdet.ResNet', 'depth': 51}, 'mmdet.ResNet cannot be built (invalid depth 51 for resnet)'),
        (METRICS, {'type': 'MeanIoU', 'num_clases': 1}, 'MeanIoU has no setting "num_clases"'),
        (METRICS, {'type': 'PanopticQuality', 'misspelt': 1}, 'PanopticQuality has no setting "misspelt"'),
        (DATASETS, {'type': 'CocoPanoptic', 'ann_fil': 'a.json'}, 'CocoPanoptic needs the setting "ann_file"'),
        (
            TRANSFORMS,
            {'type': 'ShortestEdg', 'size': 3},
            'there is no transform "ShortestEdg" (did you mean "ShortestE',
        ),
    ],
)
def test_build_part__mistakes_elsewhere(registry, config, sentence):
    with pytest.raises(UserError) as raised:
        build_part(registry, config)
    assert sentence in str(raised.value)


@pytest.mark.parametrize(
    ('error', 'kind'), [('key', KeyError), ('type', TypeError), ('value', RuntimeError), ('raised', ValueError)]
)
def test_build_part__a_bug_stays_one(error, kind):
    with pytest.raises(kind) as raised:
        build_part(MODELS, {'type': 'WithBugs', 'size': 3, 'error': error})
    assert not isinstance(raised.value, UserError)


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        ({'custom_hooks': [{'type': 'EMAHok'}]}, 'custom_hooks.0: there is no hook "EMAHok" (did you mean "EMAHook"?)'),
        ({'optim_wrapper.optimizer.foo': 1}, 'optim_wrapper.optimizer: AdamW has no setting "foo"'),
        ({'train_dataloader.dataset.pipeline.0.foo': 1}, 'dataset.pipeline.0: LoadPhoto has no setting "foo"'),
        ({'val_evaluator.0.foo': 1}, 'val_evaluator.0: PanopticQuality has no setting "foo"'),
        ({'val_cfg': None}, 'the config has no "val_cfg", which validation needs'),
        ({'visualizer': 3}, 'the setting "visualizer" of the config is 3, not a dict; correct it.'),
    ],
)
def test_explain_mistakes__names_the_part(options, sentence):
    cfg = read_config(QUICKSTART, options)
    with pytest.raises(UserError) as raised, explain_mistakes(cfg):
        raise KeyError("EMAHok is not in the registry; unexpected 'foo'")
    assert sentence in str(raised.value)


@pytest.mark.parametrize('error', [KeyError('name'), TypeError("unexpected 'name'"), ValueError('too many values')])
def test_explain_mistakes__a_bug_stays_one_whatever_else_is_wrong(error):
    cfg = read_config(QUICKSTART, {'custom_hooks': [{'type': 'EMAHok'}], 'val_evaluator.0.foo': 1})
    with pytest.raises(type(error)) as raised, explain_mistakes(cfg):
        raise error
    assert raised.value is error


def test_explain_mistakes__what_the_loader_rejects():
    cfg = read_config(QUICKSTART)
    cfg.train_dataloader.batch_size = 'x'
    sentence = 'train_dataloader: batch_size should be a positive integer value'
    with pytest.raises(UserError, match=sentence), explain_mistakes(cfg):
        torch.utils.data.DataLoader([], batch_size='x')


def test_explain_mistakes__a_package_that_a_part_needs():
    cfg = read_config(QUICKSTART)
    with pytest.raises(UserError, match='run "pip install wandb" to install wandb'), explain_mistakes(cfg):
        raise ImportError('Please run "pip install wandb" to install wandb')
    with pytest.raises(ModuleNotFoundError) as raised, explain_mistakes(cfg):
        import mmseg_oneformer.no_such_module  # noqa: F401
    assert not isinstance(raised.value, UserError)


def test_explain_mistakes__a_config_of_models_alone():
    with pytest.raises(KeyError), explain_mistakes(Config({'model': {'type': 'OneFormer'}})):
        {}['name']
