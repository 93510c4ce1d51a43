"""Swin and ResNet against mmdet, ConvNeXt against timm, DiNAT's attention against a dense one.

tests/checkpoints compares with transformers.
"""

import pytest
import timm
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch.testing import assert_close

from mmseg_oneformer.errors import UserError
from mmseg_oneformer.models.backbones.dinat import NeighborhoodAttention

EXACT = {'rtol': 1e-10, 'atol': 1e-10}
CONVNEXT = {'type': 'ConvNeXt', 'depths': [1, 2, 3, 1], 'channels': [8, 16, 24, 32]}
DINAT = {
    'type': 'DiNAT',
    'embed_dims': 8,
    'depths': [2, 1, 3, 1],
    'num_heads': [1, 2, 4, 8],
    'mlp_ratio': 2.0,
    'kernel_size': 3,
    'dilations': [[1, 4], [2], [1, 2, 1], [1]],
}


def build(config, **changes):
    torch.manual_seed(0)
    backbone = MODELS.build({**config, **changes})
    backbone.init_weights()
    return backbone.double()


def nearest(position, length, kernel_size, dilation):
    group = [other for other in range(length) if (other - position) % dilation == 0]
    return sorted(sorted(group, key=lambda other: abs(other - position))[:kernel_size])


def dense(attention, x):
    """Attention over all pairs of a padded map, with a mask, for one image (H, W, C)."""
    size, kernel_size, dilation = x.shape[:2], attention.kernel_size, attention.dilation
    height, width = (max(length, kernel_size * dilation) for length in size)
    padded = torch.zeros(height, width, x.shape[2], dtype=x.dtype)
    padded[: size[0], : size[1]] = x
    query, key, value = attention.qkv(padded).view(height * width, 3, attention.num_heads, -1).permute(1, 2, 0, 3)
    bias = torch.full((attention.num_heads, height * width, height * width), -torch.inf, dtype=x.dtype)
    for i in range(height * width):
        y, x = divmod(i, width)
        for row in nearest(y, height, kernel_size, dilation):
            for column in nearest(x, width, kernel_size, dilation):
                offset = (row - y) // dilation + kernel_size - 1, (column - x) // dilation + kernel_size - 1
                bias[:, i, row * width + column] = attention.rpb[(slice(None), *offset)]
    weights = (query @ key.transpose(1, 2) / query.shape[-1] ** 0.5 + bias).softmax(-1)
    out = (weights @ value).transpose(0, 1).reshape(height, width, -1)
    return attention.proj(out[: size[0], : size[1]])


@pytest.mark.parametrize('size', [(8, 9), (3, 8), (7, 4), (2, 3)], ids=['fits', 'low', 'narrow', 'small'])
def test_neighborhood_attention__pads_as_natten_0_14(size):
    """Padding is attended to with keys and values that are the biases of ``qkv``."""
    torch.manual_seed(0)
    attention = NeighborhoodAttention(8, num_heads=2, kernel_size=3, dilation=2).double()
    with torch.no_grad():
        attention.rpb.normal_()
        attention.qkv.bias.normal_()
    x = torch.randn(2, *size, 8, dtype=torch.float64)
    expected = torch.stack([dense(attention, image) for image in x])
    assert_close(attention(x), expected, **EXACT)


def make_pair(theirs, ours, **settings):
    """A backbone of mmdet and ours with its weights, none of them zero; both begin with the same random numbers."""
    pair = []
    for config in (theirs, ours):
        torch.manual_seed(0)
        backbone = MODELS.build({**config, **settings})
        backbone.init_weights()
        pair.append((backbone, torch.rand(1)))
    (first, next_first), (second, next_second) = pair
    begin = {name: tensor.clone() for name, tensor in first.state_dict().items()}
    assert begin.keys() == second.state_dict().keys()
    same = all(torch.equal(tensor, begin[name]) for name, tensor in second.state_dict().items())
    for parameter in first.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter)
    second.load_state_dict(first.state_dict())
    return first, second, same and torch.equal(next_first, next_second)


def assert_same(theirs, ours, size, training):
    """Levels and gradients are equal to the last bit."""
    image = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    results = []
    for backbone in (theirs, ours):
        backbone.train(training)
        backbone.zero_grad()
        torch.manual_seed(0)
        levels = backbone(image)
        sum(level.square().sum() for level in levels).backward()
        results.append((levels, {name: parameter.grad for name, parameter in backbone.named_parameters()}))
    (levels, gradients), (our_levels, our_gradients) = results
    assert all(torch.equal(a, b) for a, b in zip(levels, our_levels, strict=True))
    for name, gradient in gradients.items():
        assert (gradient is None) == (our_gradients[name] is None)
        assert gradient is None or torch.equal(gradient, our_gradients[name]), name


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('size', [(64, 64), (97, 130), (224, 256)])
def test_swin__is_mmdets_to_the_last_bit(size, training):
    """With one window a level, with padding, without any; dropping branches at random."""
    settings = {'embed_dims': 8, 'depths': [2, 1, 2, 1], 'num_heads': [1, 2, 4, 8], 'drop_path_rate': 0.3}
    theirs, ours, _ = make_pair({'type': 'mmdet.SwinTransformer'}, {'type': 'SwinBackbone'}, **settings)
    assert_same(theirs, ours, size, training)


@pytest.mark.parametrize('size', [(64, 64), (97, 130), (224, 256)])
def test_swin__fused_attention_equals_the_plain_form(size):
    """Which is used where gradients are wanted; with one window a level, with padding, with two images."""
    swin = MODELS.build({'type': 'SwinBackbone', 'embed_dims': 8, 'depths': [2, 1, 2, 1], 'num_heads': [1, 2, 4, 8]})
    for name, parameter in swin.named_parameters():
        if name.endswith('relative_position_bias_table'):
            torch.nn.init.normal_(parameter)
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    plain = swin.double().eval()(images)
    with torch.no_grad():
        fused = swin(images)
    for one, other in zip(plain, fused, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize(
    'settings',
    [
        {'depth': 18},
        {'depth': 50},
        {'depth': 50, 'norm_cfg': {'type': 'BN', 'requires_grad': False}, 'norm_eval': True},
    ],
)
def test_resnet__is_mmdets_to_the_last_bit(settings, training):
    """Its random start too, with which the quick start trains from scratch."""
    options = {'norm_eval': False, 'base_channels': 8} | settings
    theirs, ours, same_start = make_pair({'type': 'mmdet.ResNet'}, {'type': 'ResNetBackbone'}, **options)
    assert same_start
    assert_same(theirs, ours, (97, 130), training)


def test_resnet__mistakes_are_sentences():
    with pytest.raises(UserError, match='no ResNet of depth 19; choose from 18, 34'):
        MODELS.build({'type': 'ResNetBackbone', 'depth': 19})
    with pytest.raises(UserError, match=r'norm_cfg\.type of ResNetBackbone must be one of BN, SyncBN, not GN'):
        MODELS.build({'type': 'ResNetBackbone', 'depth': 18, 'norm_cfg': {'type': 'GN'}})


def test_convnext__equals_timm_and_norms():
    backbone = build(CONVNEXT, drop_path_rate=0.2).eval()
    timms = timm.create_model(
        'convnext_tiny',
        depths=CONVNEXT['depths'],
        dims=CONVNEXT['channels'],
        ls_init_value=1.0,
        features_only=True,
    )
    with torch.no_grad():
        for tensor in backbone.state_dict().values():
            tensor += 0.1 * torch.randn_like(tensor)
    state = {key: tensor for key, tensor in backbone.state_dict().items() if not key.startswith('norm')}
    timms = timms.double().eval()
    timms.load_state_dict(
        {key.replace('stem.', 'stem_').replace('stages.', 'stages_', 1): v for key, v in state.items()}
    )
    image = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    for i, (level, expected) in enumerate(zip(backbone(image), timms(image), strict=True)):
        norm = getattr(backbone, f'norm{i}')
        wanted = F.layer_norm(expected.permute(0, 2, 3, 1), expected.shape[1:2], norm.weight, norm.bias, eps=1e-6)
        assert_close(level, wanted.permute(0, 3, 1, 2), **EXACT)


@pytest.mark.parametrize('config', [CONVNEXT, DINAT], ids=lambda config: config['type'])
def test_backbones__levels_and_gradients(config):
    """Strides, widths and normed levels; every parameter learns."""
    backbone = build(config)
    levels = backbone(torch.randn(1, 3, 64, 96, dtype=torch.float64))
    widths = CONVNEXT['channels'] if config is CONVNEXT else [8, 16, 32, 64]
    assert [tuple(level.shape) for level in levels] == [
        (1, width, 64 // stride, 96 // stride) for width, stride in zip(widths, (4, 8, 16, 32), strict=True)
    ]
    for level in levels:
        assert_close(level.mean(1), torch.zeros_like(level[:, 0]), rtol=0, atol=1e-7)
        assert_close(level.var(1, correction=0), torch.ones_like(level[:, 0]), rtol=0.01, atol=0)
    sum((level.sin() * torch.randn_like(level)).sum() for level in levels).backward()
    assert [name for name, parameter in backbone.named_parameters() if not parameter.grad.any()] == []


@pytest.mark.parametrize('config', [CONVNEXT, DINAT], ids=lambda config: config['type'])
def test_backbones__drop_path_grows_with_depth(config):
    backbone = build(config, drop_path_rate=0.3)
    rates = [getattr(m.drop_path, 'drop_prob', 0.0) for m in backbone.modules() if hasattr(m, 'drop_path')]
    assert rates == pytest.approx([0.3 * i / 6 for i in range(7)])


def test_dinat__dilations_are_stated_for_every_block():
    with pytest.raises(ValueError, match=r'has \[2, 1, 2, 1\] entries per level, but depths is \[2, 1, 3, 1\]'):
        build(DINAT, dilations=[[1, 4], [2], [1, 2], [1]])


def test_dinat__init_weights_leaves_no_table_at_zero_and_no_bias_off_it():
    backbone = build(DINAT)
    for name, parameter in backbone.named_parameters():
        if name.endswith('rpb'):
            assert 0.01 < parameter.std() < 0.03
        elif name.endswith(('qkv.bias', 'fc1.bias')):
            assert not parameter.any()
