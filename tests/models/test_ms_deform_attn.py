"""The CPU's operator of deformable attention against the plain form, which test_points_and_attention checks."""

import copy
import warnings

import pytest
import torch
from torch.testing import assert_close

from mmseg_oneformer.models.ops import ms_deform_attn_cpu
from mmseg_oneformer.models.ops.ms_deform_attn import MSDeformAttn, ms_deform_attn, ms_deform_attn_plain
from mmseg_oneformer.models.skeleton import pretending

DOUBLE = {'rtol': 1e-11, 'atol': 1e-11}
SHAPES = {
    'maps': [(3, 4), (6, 5), (8, 8)],
    'powers-of-two': [(2, 4), (8, 4), (1, 2)],
    'one-pixel': [(1, 1), (1, 1), (1, 1)],
    'rows-and-columns': [(1, 7), (5, 1), (2, 2)],
    'one-level': [(4, 3)],
}


def arguments(shapes, batch=2, queries=7, heads=2, depth=3, points=4, dtype=torch.float64, spread=0.4):
    """Value, locations (a part of them outside of the maps, a part on pixel centres and borders) and weights."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    value = random(batch, sum(h * w for h, w in shapes), heads, depth) - 0.5
    locations = random(batch, queries, heads, len(shapes), points, 2) * (1 + 2 * spread) - spread
    weights = random(batch, queries, heads, len(shapes), points)
    locations[:, 0] = locations[:, 0].round()  # borders of the map
    size = torch.tensor([(w, h) for h, w in shapes])[:, None]
    if all(length & (length - 1) == 0 for shape in shapes for length in shape):  # where centres are exact numbers
        locations[:, 1] = ((locations[:, 1] * size).floor().clamp(min=0).minimum(size - 1) + 0.5) / size
    return value.to(dtype), locations.to(dtype), weights.to(dtype)


def with_gradients(function, shapes, value, locations, weights):
    """Output and gradients of an uneven sum of it."""
    leaves = [x.detach().clone().requires_grad_() for x in (value, locations, weights)]
    out = function(leaves[0], shapes, *leaves[1:])
    (out * torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view_as(out)).sum().backward()
    return [out.detach(), *(x.grad for x in leaves)]


@pytest.mark.parametrize('name', SHAPES)
def test_operator__equals_plain_form(name):
    """Forward and all three gradients, with points on borders, on pixel centres and outside."""
    for result, expected in zip(
        *(with_gradients(f, SHAPES[name], *arguments(SHAPES[name])) for f in (ms_deform_attn, ms_deform_attn_plain))
    ):
        assert_close(result, expected, **DOUBLE)


def test_operator__equals_plain_form_in_fp32():
    shapes = SHAPES['maps']
    tensors = arguments(shapes, queries=40, heads=8, depth=32, dtype=torch.float32)
    tensors[1][:, :2] = 0.37  # In fp32 the two forms may stand on different sides of a pixel's centre.
    results = with_gradients(ms_deform_attn, shapes, *tensors)
    for result, expected in zip(results, with_gradients(ms_deform_attn_plain, shapes, *tensors)):
        assert (result - expected).norm() <= 2e-6 * expected.norm()


def test_operator__gradcheck():
    shapes = SHAPES['rows-and-columns']
    value, locations, weights = arguments(shapes, batch=1, queries=3)
    leaves = [x.requires_grad_() for x in (value, locations[:, 2:].contiguous(), weights[:, 2:].contiguous())]
    assert torch.autograd.gradcheck(lambda v, x, w: ms_deform_attn(v, shapes, x, w), leaves)


def test_operator__chunks_change_nothing(monkeypatch):
    """Neither how many queries are in work at a time nor how many threads there are changes a bit."""
    shapes = SHAPES['maps']
    tensors = arguments(shapes, queries=11)
    expected = with_gradients(ms_deform_attn, shapes, *tensors)
    monkeypatch.setattr(ms_deform_attn_cpu, 'CHUNK', 2 * 24)
    monkeypatch.setattr(ms_deform_attn_cpu, 'BACKWARD_CHUNK', 3 * 24)
    for result, whole in zip(with_gradients(ms_deform_attn, shapes, *tensors), expected):
        assert torch.equal(result, whole)


@pytest.mark.parametrize('bad', [float('nan'), float('inf'), float('-inf'), 1e30, -1e30])
def test_operator__bad_locations_stay_inside_the_table(bad):
    """Infinity reads nothing; NaN makes its own query and head NaN and no other."""
    shapes = SHAPES['maps']
    value, locations, weights = arguments(shapes, dtype=torch.float32)
    expected = with_gradients(ms_deform_attn, shapes, value, locations, weights)
    locations[0, 3, 1, 2, 0, 0] = bad
    out, grad_value, *_ = with_gradients(ms_deform_attn, shapes, value, locations, weights)
    other = torch.ones_like(out, dtype=torch.bool)
    other[0, 3, 3:] = False
    assert torch.equal(out[other], expected[0][other])
    assert bool(out.isfinite().all()) == (bad == bad)
    if bad == bad:
        weights[0, 3, 1, 2, 0] = 0
        assert_close(out, ms_deform_attn(value, shapes, expected_locations(locations), weights))
        assert grad_value.isfinite().all()


def expected_locations(locations):
    """The same with what is not a number, or far away, in the middle."""
    return torch.where(locations.abs() < 10, locations, 0.5)


def test_operator__bf16_values():
    """Sums are those of fp32, rounded once at the end."""
    shapes = SHAPES['maps']
    value, locations, weights = arguments(shapes, dtype=torch.float32)
    out = ms_deform_attn(value.bfloat16(), shapes, locations, weights)
    assert torch.equal(out, ms_deform_attn(value.bfloat16().float(), shapes, locations, weights).bfloat16())


def test_operator__any_strides():
    shapes = SHAPES['maps']
    value, locations, weights = arguments(shapes)
    expected = with_gradients(ms_deform_attn, shapes, value, locations, weights)
    leaves = [x.requires_grad_() for x in (value, locations, weights)]
    strided = leaves[0].transpose(1, 2).contiguous().transpose(1, 2), leaves[1].flip(0).contiguous().flip(0)
    out = ms_deform_attn(strided[0], shapes, strided[1], leaves[2].transpose(1, 3).contiguous().transpose(1, 3))
    (out.transpose(0, 1) * expected[0].transpose(0, 1)).sum().backward()
    again = [x.detach().requires_grad_() for x in leaves]
    (ms_deform_attn(again[0], shapes, again[1], again[2]) * expected[0]).sum().backward()
    for leaf, other in zip(leaves, again):
        assert_close(leaf.grad, other.grad, **DOUBLE)


def module_and_input(batch=1):
    torch.manual_seed(0)
    module = MSDeformAttn(16, num_heads=2)
    module.init_weights()
    torch.nn.init.normal_(module.sampling_offsets.weight, std=0.1)
    shapes = [(2, 2), (3, 4), (5, 6)]
    positions = sum(h * w for h, w in shapes)
    query, value = torch.randn(2, batch, positions, 16)
    return module, (query, value, torch.rand(positions, 2), shapes)


def test_module__trains_after_inference_mode():
    """What the operator keeps for a size may have been made in inference mode."""
    module, inputs = module_and_input()
    ms_deform_attn_cpu._geometry.cache_clear()
    with torch.inference_mode():
        expected = module(*inputs)
    out = module(*inputs)
    out.sum().backward()
    assert torch.equal(out, expected)
    assert module.sampling_offsets.weight.grad.abs().sum() > 0
    copy.deepcopy(module)(*inputs).sum().backward()


def test_module__compiles_into_one_graph():
    module, inputs = module_and_input()
    compiled = torch.compile(module, backend='aot_eager', fullgraph=True)
    expected = torch.autograd.grad(module(*inputs).square().sum(), module.parameters())
    for result, gradient in zip(torch.autograd.grad(compiled(*inputs).square().sum(), module.parameters()), expected):
        assert_close(result, gradient)
    with torch.no_grad():
        assert_close(compiled(*inputs), module(*inputs))


def test_module__exports_without_an_operator_of_ours():
    module, inputs = module_and_input()
    program = torch.export.export(module, inputs)
    assert 'mmseg_oneformer' not in str(program.graph)
    assert_close(program.module()(*inputs), module(*inputs))


def test_module__has_shapes_without_memory():
    module, inputs = module_and_input(batch=3)
    with pretending():
        assert module(torch.empty(3, 46, 16), torch.empty(3, 46, 16), torch.empty(46, 2), inputs[3]).shape == (
            3,
            46,
            16,
        )


def test_backward__is_silent():
    """PyTorch says once a process that its sparse tensors are new; training is not about them."""
    shapes = SHAPES['maps']
    with warnings.catch_warnings(record=True) as caught:
        with_gradients(ms_deform_attn, shapes, *arguments(shapes))
    assert not caught
