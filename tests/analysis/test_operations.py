"""Operations counted by hand, of single layers and of the backbones whose papers state them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmseg_oneformer.analysis.operations import REST, OperationCounter
from mmseg_oneformer.models.backbones import dinat
from mmseg_oneformer.models.layers import Attention
from mmseg_oneformer.models.ops.ms_deform_attn import ms_deform_attn, ms_deform_attn_plain
from mmseg_oneformer.models.skeleton import one_task_skeleton, pretending
from mmseg_oneformer.zoo.configs import read_config


def count(function, *arguments):
    with pretending(), OperationCounter() as counter:
        function(*(torch.zeros(shape) for shape in arguments))
    assert not counter.unknown
    return counter.result()


MATRICES = {
    'linear': (lambda x, w, b: F.linear(x, w, b), [(2, 7, 16), (32, 16), (32,)], 2 * 7 * 16 * 32),
    'matmul': (lambda a, b: a @ b, [(3, 5, 4), (3, 4, 6)], 3 * 5 * 4 * 6),
    'einsum': (lambda q, x: torch.einsum('bqc,bchw->bqhw', q, x), [(1, 9, 8), (1, 8, 5, 6)], 9 * 8 * 5 * 6),
    'conv': (lambda x, w: F.conv2d(x, w, stride=2, padding=1), [(1, 3, 16, 20), (8, 3, 3, 3)], 8 * 8 * 10 * 3 * 9),
    'depthwise': (lambda x, w: F.conv2d(x, w, padding=3, groups=6), [(1, 6, 9, 9), (6, 1, 7, 7)], 6 * 81 * 49),
    'transposed': (lambda x, w: F.conv_transpose2d(x, w, stride=2), [(1, 3, 5, 5), (3, 4, 2, 2)], 3 * 25 * 4 * 4),
}


@pytest.mark.parametrize('name', MATRICES)
def test_counter__products_of_matrices(name):
    function, shapes, expected = MATRICES[name]
    counted = count(function, *shapes)
    assert counted.seen == counted.all == expected


@pytest.mark.parametrize('masked', [False, True])
def test_counter__attention(masked):
    """Projections and both products are seen, the softmax is in the full count only; the kernel does not matter."""

    layer = Attention(32, 4)

    def attend(query, key):
        blocked = torch.zeros(1, 10, 24, dtype=torch.bool) if masked else None
        return layer(query, key, key, blocked)

    counted = count(attend, (1, 10, 32), (1, 24, 32))
    logits = 4 * 10 * 24
    assert counted.seen == 32 * 32 * (2 * 10 + 2 * 24) + logits * (8 + 8)
    assert counted.all >= counted.seen + 5 * logits


def test_counter__norms_and_resizing_at_the_rates_of_fvcore():
    assert count(lambda x: F.layer_norm(x, (8,)), (3, 8)).seen == 5 * 24
    assert count(lambda x: F.group_norm(x, 2), (1, 4, 3, 3)).seen == 5 * 36
    assert count(lambda x, m: F.batch_norm(x, m, m, m, m), (1, 4, 3, 3), (4,)).seen == 2 * 36
    assert count(lambda x: F.interpolate(x, size=(6, 8), mode='bilinear'), (1, 2, 3, 4)).seen == 4 * 2 * 6 * 8


def test_counter__element_wise_is_in_the_full_count_only():
    counted = count(lambda x: (x.relu() + x).sum() * 2, (5, 7))
    assert (counted.seen, counted.all) == (0, 35 + 35 + 35 + 1)
    assert count(lambda x: torch.cat((x, x)).transpose(0, 1).contiguous().clone(), (5, 7)).all == 0


@pytest.mark.parametrize('form', [ms_deform_attn, ms_deform_attn_plain])
def test_counter__deformable_sampling_is_in_the_full_count_only(form):
    shapes, points, heads, depth, queries = [(4, 6), (2, 3)], 4, 2, 8, 30
    sampled = heads * depth * queries * len(shapes) * points
    counted = count(
        lambda value, locations, weights: form(value, shapes, locations, weights),
        (1, 30, heads, depth),
        (1, queries, heads, 2, points, 2),
        (1, queries, heads, 2, points),
    )
    assert counted.seen == 0
    coordinates = queries * heads * 2 * points * 2  # 2 x - 1
    assert counted.all == (4 + 1 + 1) * sampled + 2 * coordinates  # four corners, weight, sum


def test_counter__neighbourhood_attention_by_formula():
    layer = dinat.NeighborhoodAttention(16, num_heads=2, kernel_size=3, dilation=2)
    original = dinat.neighborhood_attention
    with pretending(), OperationCounter() as counter, counter.following(nn.ModuleDict({'a': layer})):
        layer(torch.zeros(1, 5, 8, 16))  # padded to 6 rows
    counted = counter.result()
    positions, kept = 6 * 8, 5 * 8
    assert counted.usual == {'a.qkv': 16 * 48 * positions, 'a.proj': 16 * 16 * kept}
    logits = positions * 2 * 9
    assert counted.all - counted.seen == logits * (8 + 8 + 1 + 5) + 16 * positions  # scaled queries
    assert dinat.neighborhood_attention is original


def test_counter__what_it_does_not_know_is_named():
    with pretending(), OperationCounter() as counter:
        torch.zeros(4, 5).sort()
    assert dict(counter.unknown) == {'sort': 20.0}


def test_following__keeps_parts_apart():
    inner = nn.ModuleDict({'first': nn.Linear(3, 4), 'second': nn.Linear(4, 5)})
    model = nn.ModuleDict({'backbone': nn.Sequential(nn.Linear(2, 3)), 'head': inner})
    with pretending(), OperationCounter() as counter, counter.following(model):
        x = model['backbone'](torch.zeros(1, 2))
        (inner['second'](inner['first'](x)) @ torch.zeros(5, 6)).sum()
    counted = counter.result()
    assert counted.usual == {'backbone': 6.0, 'head.first': 12.0, 'head.second': 20.0, REST: 30.0}
    assert counted.parts == ['backbone', 'head.first', 'head.second', REST]


# Multiply-adds in G as the backbones' own papers state them: size, and what of our count they contain. Ours lack the
# classifier (at most 0.002) and have the norms behind the levels.
PUBLISHED = {
    'oneformer_r50_8xb2-160k_ade20k-512x512': (224, 4.09, 'seen'),
    'oneformer_swin-t_8xb2-160k_ade20k-512x512': (224, 4.5, 'seen'),
    'oneformer_swin-l_8xb2-160k_ade20k-640x640': (384, 103.9, 'seen'),
    'oneformer_convnext-l_8xb2-160k_ade20k-640x640': (384, 101.0, 'seen'),
    'oneformer_convnext-xl_8xb2-160k_ade20k-640x640': (384, 179.0, 'seen'),
    'oneformer_dinat-l_8xb2-160k_ade20k-640x640': (384, 92.4, 'all'),
}


@pytest.mark.parametrize('name', PUBLISHED)
def test_backbone__equals_the_published_count(name):
    size, published, which = PUBLISHED[name]
    cfg = read_config(name)
    if 'dinat' in name:  # at 384 its dilations are smaller, so that nothing is padded
        cfg.model.backbone.dilations = [[1] * depth for depth in cfg.model.backbone.depths]
    backbone = one_task_skeleton(cfg).backbone
    with pretending(), OperationCounter() as counter, counter.following(backbone):
        backbone.to_empty(device='cpu')(torch.zeros(1, 3, size, size))
    assert getattr(counter.result(), which) / 1e9 == pytest.approx(published, rel=0.006)
