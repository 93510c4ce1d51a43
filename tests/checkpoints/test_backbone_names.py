"""The registry of backbones' names, and what an entry of one's own is good for."""

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

from mmseg_oneformer.checkpoints import backbone_names
from mmseg_oneformer.checkpoints.backbone_names import (
    UNKNOWN,
    BackboneNames,
    HubNames,
    backbone_of,
    known_backbones,
    register_backbone,
)
from mmseg_oneformer.checkpoints.checkpoint import load_weights, save_safetensors
from mmseg_oneformer.checkpoints.conversion.convert import from_ours, to_ours
from mmseg_oneformer.checkpoints.recognition import architecture_of
from mmseg_oneformer.zoo.configs import read_config

FAMILIES = {'convnext', 'dinat', 'resnet', 'swin'}
HEAD = {
    'head.decoder.class_embed.weight': torch.zeros(4, 2),
    'head.query_embed.weight': torch.zeros(5, 2),
}


@pytest.fixture
def register(monkeypatch):
    """Register entries for one test."""
    monkeypatch.setattr(backbone_names, '_ENTRIES', dict(backbone_names._ENTRIES))
    return register_backbone


def whole(*names):
    return HEAD | {f'backbone.{name}': torch.arange(6.0).reshape(3, 2) for name in names}


def test_known_backbones__of_the_package():
    assert {names.family for names in known_backbones()} == FAMILIES


def test_register_backbone__least_entry(register):
    register(BackboneNames(family='vit', block='blocks.{i}.ls1.gamma'))
    state = whole('blocks.0.ls1.gamma', 'blocks.1.ls1.gamma', 'norm.weight')
    assert str(architecture_of(state)) == 'vit of 2 blocks with 3 classes and 5 queries'
    with pytest.raises(ValueError, match=r'3 tensors .* in the reference code; it does not support this backbone'):
        from_ours(state, 'shi')


def test_register_backbone__same_names_there(register):
    register(BackboneNames(family='vit', block='blocks.{i}.ls1.gamma', reference=['{any}']))
    state = whole('blocks.0.ls1.gamma', 'patch_embed.proj.weight')  # which is another tensor in a Swin
    file = from_ours(state, 'shi').state
    assert {key for key in file if key.startswith('backbone.')} == {key for key in state if key.startswith('backbone.')}
    again = to_ours(file, 'shi').state
    assert all(torch.equal(again[key], state[key]) for key in state)


def test_register_backbone__parts_and_names_of_transformers(register):
    parts = tuple(f'layer.{{i}}.{part}.{{wb}}' for part in 'qkv')
    hub = HubNames([('blocks.{i}.qkv.{wb}', parts)], in_memory=[('encoder.layer.', 'layer.')])
    register(BackboneNames(family='vit', block='blocks.{i}.qkv.weight', hub=hub))
    state = whole('blocks.0.qkv.weight')
    file = from_ours(state, 'hf').state
    prefix = 'model.pixel_level_module.encoder.'
    assert {key for key in file if key.startswith(prefix)} == {f'{prefix}layer.0.{part}.weight' for part in 'qkv'}
    in_memory = {key.replace('encoder.layer.', 'encoder.encoder.layer.'): tensor for key, tensor in file.items()}
    for names in (file, in_memory):
        assert torch.equal(to_ours(names, 'hf').state['backbone.blocks.0.qkv.weight'], torch.arange(6.0).reshape(3, 2))


def test_register_backbone__special_case_of_a_shipped_family(register):
    register(BackboneNames(family='convnext-v2', block='stages.{i}.blocks.{j}.mlp.grn.weight', width='stem.0.weight'))
    old = ['stem.0.weight', 'stages.0.blocks.0.conv_dw.weight']
    assert backbone_of(old).family == 'convnext'
    assert backbone_of([*old, 'stages.0.blocks.0.mlp.grn.weight']).family == 'convnext-v2'


@pytest.mark.parametrize(
    ('names', 'sentence'),
    [
        (BackboneNames(family='swin', block='blocks.{i}.weight'), 'family swin already has an entry'),
        (BackboneNames(family='vit', block='blocks.{n}.weight'), r'has the unknown field \{n\}; there are i, j, k, wb'),
        (BackboneNames(family='vit', block='a.{i}', reference=['{wbb}']), r'has the unknown field \{wbb\}'),
    ],
)
def test_register_backbone__mistakes(register, names, sentence):
    with pytest.raises(ValueError, match=sentence):
        register(names)
    assert {names.family for names in known_backbones()} == FAMILIES


def test_unknown_backbone__is_called_so():
    state = whole('something.weight')
    assert backbone_of(['something.weight']) is UNKNOWN
    assert str(architecture_of(state)) == 'a backbone of an unknown family with 3 classes and 5 queries'
    assert architecture_of(HEAD) is None


def test_unknown_backbone__is_saved_and_loaded(small_models, tmp_path):
    """Without an entry a backbone has its own names, and sentences about it say less."""
    cfg = read_config('oneformer_r18-narrow_1xb16-6k_shapes-96x96')
    cfg.merge_from_dict(small_models.small_model(cfg))
    cfg.model.backbone = {'type': 'mmseg.MixVisionTransformer', 'embed_dims': 8, 'num_layers': [1] * 4}
    cfg.model.head.pixel_decoder.in_channels = [8, 16, 32, 64]
    with DefaultScope.overwrite_default_scope('mmdet'):
        one, other = MODELS.build(cfg.model), MODELS.build(cfg.model)
        cfg.model.head.num_classes += 1
        more_classes = MODELS.build(cfg.model)
    save_safetensors(one.state_dict(), tmp_path / 'a.safetensors', {})
    load_weights(other, tmp_path / 'a.safetensors')
    assert all(torch.equal(tensor, one.state_dict()[key]) for key, tensor in other.state_dict().items())
    with pytest.raises(ValueError, match=r'looks like a backbone of an unknown family with 7 classes .* model is a'):
        load_weights(more_classes, tmp_path / 'a.safetensors')
