"""Sampling and attention against plain loops."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from mmseg_oneformer.models.layers import Attention
from mmseg_oneformer.models.losses.matcher import CostWeights, match, matching_cost
from mmseg_oneformer.models.losses.points import random_points, sample, sample_targets, uncertain_points
from mmseg_oneformer.models.ops.ms_deform_attn import MSDeformAttn, ms_deform_attn

DOUBLE = {'rtol': 1e-10, 'atol': 1e-10}


def bilinear(image, x, y):
    """Value of image (C, h, w) at (x, y) in 0..1; outside is 0."""
    height, width = image.shape[1:]
    column, row = x * width - 0.5, y * height - 0.5
    left, top = int(column // 1), int(row // 1)
    value = torch.zeros(len(image), dtype=image.dtype)
    for i in (top, top + 1):
        for j in (left, left + 1):
            if 0 <= i < height and 0 <= j < width:
                value = value + (1 - abs(row - i)) * (1 - abs(column - j)) * image[:, i, j]
    return value


def test_ms_deform_attn__equals_loops():
    torch.manual_seed(0)
    shapes, batch, heads, depth, queries, points = [(3, 4), (2, 1)], 2, 2, 3, 4, 2
    value = torch.randn(batch, 14, heads, depth, dtype=torch.float64)
    locations = torch.rand(batch, queries, heads, 2, points, 2, dtype=torch.float64) * 1.6 - 0.3
    weights = torch.rand(batch, queries, heads, 2, points, dtype=torch.float64)
    expected = torch.zeros(batch, queries, heads, depth, dtype=torch.float64)
    for b in range(batch):
        for h in range(heads):
            start = 0
            for level, (height, width) in enumerate(shapes):
                image = value[b, start : start + height * width, h].T.reshape(depth, height, width)
                start += height * width
                for q in range(queries):
                    for p in range(points):
                        x, y = locations[b, q, h, level, p].tolist()
                        expected[b, q, h] += weights[b, q, h, level, p] * bilinear(image, x, y)
    assert_close(ms_deform_attn(value, shapes, locations, weights), expected.flatten(2), **DOUBLE)


def test_ms_deform_attn__module_equals_loops():
    """Offsets are in pixels of the level they point into; weights sum to one over all levels and points."""
    torch.manual_seed(0)
    shapes, channels, heads, points = [(2, 3), (4, 2), (1, 1)], 8, 2, 2
    attention = MSDeformAttn(channels, heads, num_levels=3, num_points=points).double()
    query, value = torch.randn(2, 1, 15, channels, dtype=torch.float64)
    reference = torch.rand(15, 2, dtype=torch.float64)
    offsets = attention.sampling_offsets(query)[0].view(15, heads, 3, points, 2)
    weights = attention.attention_weights(query)[0].view(15, heads, 3 * points).softmax(-1).view(15, heads, 3, points)
    projected = attention.value_proj(value)[0].view(15, heads, channels // heads)
    out = torch.zeros(15, heads, channels // heads, dtype=torch.float64)
    for q in range(15):
        for h in range(heads):
            start = 0
            for level, (height, width) in enumerate(shapes):
                image = projected[start : start + height * width, h].T.reshape(-1, height, width)
                start += height * width
                for p in range(points):
                    x = reference[q, 0] + offsets[q, h, level, p, 0] / width
                    y = reference[q, 1] + offsets[q, h, level, p, 1] / height
                    out[q, h] += weights[q, h, level, p] * bilinear(image, x.item(), y.item())
    assert_close(attention(query, value, reference, shapes)[0], attention.output_proj(out.flatten(1)), **DOUBLE)


def test_attention__equals_torch():
    torch.manual_seed(0)
    ours, theirs = Attention(16, 4), torch.nn.MultiheadAttention(16, 4, batch_first=True)
    theirs.load_state_dict(ours.state_dict())
    query, key, value = torch.randn(2, 5, 16), torch.randn(2, 7, 16), torch.randn(1, 7, 16)
    blocked = torch.rand(2, 5, 7) < 0.4
    blocked[..., 0] = False
    expected, _ = theirs(query, key, value.expand(2, -1, -1), attn_mask=blocked.repeat_interleave(4, 0))
    mask = torch.where(blocked, -math.inf, 0.0)
    assert_close(ours(query, key, value, mask), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('borders', [False, True])
def test_sample_targets__equals_grid_sample_of_masks(borders):
    generator = torch.Generator().manual_seed(3)
    index_map = torch.randint(-1, 4, (7, 5), generator=generator).to(torch.int16)
    if borders:  # corners, edges, pixel centres and pixel borders
        x, y = torch.tensor([0, 0.1, 0.2, 0.5, 0.9, 1]), torch.tensor([0, 1 / 14, 1 / 7, 0.5, 13 / 14, 1])
        points = torch.cartesian_prod(x, y)[None].double()
    else:
        points = torch.rand(1, 200, 2, generator=generator, dtype=torch.float64)
    targets = torch.tensor([2, 0, 3, 2])
    masks = (index_map == targets[:, None, None]).double()
    expected = F.grid_sample(masks[:, None], 2 * points.expand(4, -1, -1)[:, None] - 1, align_corners=False)[:, 0, 0]
    assert_close(sample_targets(index_map, points, targets), expected, **DOUBLE)
    assert_close(sample_targets(index_map, points.expand(4, -1, -1), targets), expected, **DOUBLE)
    assert_close(sample(masks[:, None], points.expand(4, -1, -1))[:, 0], expected, **DOUBLE)


def test_uncertain_points__share_and_order():
    """Three quarters are the most undecided candidates, the others are drawn anew."""
    logits = torch.linspace(-4, 4, 16).expand(16, -1)[None]  # undecided in the middle column
    draws = []

    def draw(*shape):
        draws.append(shape[:2])
        return random_points(*shape)

    points = uncertain_points(logits, num_points=40, oversample=3.0, importance=0.75, draw=draw)
    assert draws == [(1, 120), (1, 10)]
    assert points.shape == (1, 40, 2)
    distance = (points[0, :, 0] - 0.5).abs()
    assert distance[:30].max() < 0.2
    assert distance[30:].max() > 0.2


def test_matching_cost__equals_textbook():
    torch.manual_seed(0)
    classes, logits = torch.randn(2, 4, 6).double(), 3 * torch.randn(2, 4, 50).double()
    labels, targets = torch.tensor([5, 0, 0]) % 5, torch.rand(3, 50).double().round()
    cost = matching_cost(classes, logits, labels, targets, CostWeights(2, 5, 5))
    for layer in range(2):
        for n in range(4):
            for m in range(3):
                x, t = logits[layer, n], targets[m]
                dice = 1 - (2 * (x.sigmoid() * t).sum() + 1) / (x.sigmoid().sum() + t.sum() + 1)
                bce = F.binary_cross_entropy_with_logits(x, t)
                expected = -2 * classes[layer, n].softmax(0)[labels[m]] + 5 * bce + 5 * dice
                assert_close(cost[layer, n, m], expected, **DOUBLE)


@pytest.mark.parametrize('bad', [float('nan'), float('inf'), float('-inf')])
def test_matching_cost__bad_logits_lose(bad):
    """One bad query doesn't stop the training: it is matched last."""
    torch.manual_seed(0)
    classes, logits = torch.randn(1, 3, 4), torch.randn(1, 3, 20)
    classes[0, 1], logits[0, 1] = bad, bad
    cost = matching_cost(classes, logits, torch.tensor([0, 1]), torch.rand(2, 20), CostWeights())
    assert cost.isfinite().all()
    assert sorted(match([cost]).query.tolist()) == [0, 2]
    everything = matching_cost(classes * bad, logits * bad, torch.tensor([0, 1]), torch.rand(2, 20), CostWeights())
    assert len(match([everything]).query) == 2


def test_match__no_target_and_too_many():
    matches = match([torch.zeros(2, 3, 0), torch.rand(2, 3, 5), torch.zeros(2, 3, 0)])
    assert matches.image.tolist() == [1] * 6
    assert matches.layer.tolist() == [0] * 3 + [1] * 3
    assert matches.query.tolist() == [0, 1, 2] * 2
    assert len(set(matches.target[:3].tolist())) == 3
    empty = match([torch.zeros(2, 3, 0)])
    assert all(len(part) == 0 and part.dtype == torch.int64 for part in empty)
