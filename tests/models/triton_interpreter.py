"""The kernels of deformable attention in Triton's interpreter; run with TRITON_INTERPRET=1 before anything has Triton.

``test_ms_deform_attn_triton`` starts it as a process of its own.
"""

import itertools
from contextlib import contextmanager

import pytest
import torch

from mmseg_oneformer.models.ops import ms_deform_attn_cpu, ms_deform_attn_triton

CASES = {  # values' dtype, images, depth, shapes, queries, largest error
    'odd-depth': (torch.float32, 1, 3, [(3, 4), (2, 5)], 17, 2e-6),
    'one-pixel': (torch.float32, 2, 4, [(1, 1)], 5, 2e-6),
    'bf16': (torch.bfloat16, 2, 8, [(3, 4)], 16, 5e-3),
    'fp16': (torch.float16, 1, 8, [(3, 4)], 3, 1e-3),
}


@pytest.mark.parametrize('name', CASES)
def test_kernels__equal_the_cpu(name):
    """Forward and three gradients; a query of the last block that isn't there writes nothing."""
    dtype, batch, depth, shapes, queries, limit = CASES[name]
    torch.manual_seed(0)
    heads, points = 2, 2
    sizes = list(itertools.chain(*shapes))
    samples = heads * len(shapes) * points
    value = torch.randn(batch, sum(h * w for h, w in shapes), heads, depth).to(dtype)
    locations, weights = torch.rand(batch, queries, 2, samples) * 1.8 - 0.4, torch.rand(batch, queries, samples)
    grad = torch.randn(batch, queries, heads * depth).to(dtype)
    results = [
        ms_deform_attn_triton.forward(value, sizes, locations, weights),
        *ms_deform_attn_triton.backward(grad, value, sizes, locations, weights),
    ]
    expected = [
        ms_deform_attn_cpu.forward(value.float(), sizes, locations, weights),
        *ms_deform_attn_cpu.backward(grad.float(), value.float(), sizes, locations, weights),
    ]
    for result, other, kind in zip(results, expected, (dtype, dtype, torch.float32, torch.float32)):
        assert result.dtype == kind
        assert (result.float() - other).norm() <= limit * other.norm()


def test_kernels__bad_locations():
    """What is not finite reads nothing outside of the values, and spoils its own query and head only."""
    torch.manual_seed(0)
    value, locations, weights = torch.randn(1, 6, 2, 4), torch.rand(1, 6, 2, 2), torch.rand(1, 6, 2)
    good = ms_deform_attn_triton.forward(value, [2, 3], locations, weights)
    for query, bad in enumerate((float('nan'), float('inf'), float('-inf'), 1e30)):
        locations[0, query, 0, 0] = bad
    out = ms_deform_attn_triton.forward(value, [2, 3], locations, weights)
    assert torch.equal(out[:, 4:], good[:, 4:])
    assert torch.equal(out[:, :4, 4:], good[:, :4, 4:])
    grads = ms_deform_attn_triton.backward(torch.ones_like(out), value, [2, 3], locations, weights)
    assert grads[0][:, :, 1].isfinite().all()


def test_kernels__run_on_the_gpu_of_the_values(monkeypatch):
    """Triton takes the current one, which after ``model.to('cuda:1')`` is still the first."""
    entered = []

    @contextmanager
    def device_of(tensor):
        entered.append(tensor.shape)
        yield

    monkeypatch.setattr(torch.cuda, 'device_of', device_of)
    value, locations, weights = torch.randn(1, 6, 2, 4), torch.rand(1, 3, 2, 2), torch.rand(1, 3, 2)
    out = ms_deform_attn_triton.forward(value, [2, 3], locations, weights)
    assert entered == [value.shape]
    ms_deform_attn_triton.backward(out, value, [2, 3], locations, weights)
    assert entered == [value.shape] * 2
