"""Neighbourhood attention against a plain loop, and against what natten 0.14.6 gave."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from mmseg_oneformer import compat
from mmseg_oneformer.models.ops import neighborhood_attention

DOUBLE = {'rtol': 1e-11, 'atol': 1e-11}
NAMES = ('query', 'key', 'value', 'rpb')


def nearest(position, length, kernel_size, dilation):
    """The K members of the position's own dilation group that are nearest to it, in order."""
    group = [other for other in range(length) if (other - position) % dilation == 0]
    return sorted(sorted(group, key=lambda other: abs(other - position))[:kernel_size])


def naive(query, key, value, rpb, kernel_size, dilation):
    """Pixel by pixel, as the paper says it."""
    _, height, width, heads, _ = query.shape
    rows = []
    for y in range(height):
        for x in range(width):
            logits, values = [], []
            for i in nearest(y, height, kernel_size, dilation):
                for j in nearest(x, width, kernel_size, dilation):
                    bias = rpb[:, (i - y) // dilation + kernel_size - 1, (j - x) // dilation + kernel_size - 1]
                    logits.append((query[:, y, x] * key[:, i, j]).sum(-1) + bias)  # (B, heads)
                    values.append(value[:, i, j])
            weights = torch.stack(logits).softmax(0)
            rows.append((weights[..., None] * torch.stack(values)).sum(0))
    return torch.stack(rows, dim=1).view(-1, height, width, heads, value.shape[-1])


def random_inputs(size, kernel_size, heads=2, depth=3, batch=2, dtype=torch.float64):
    torch.manual_seed(0)
    maps = [torch.randn(batch, *size, heads, depth, dtype=dtype).requires_grad_() for _ in range(3)]
    return *maps, torch.randn(heads, 2 * kernel_size - 1, 2 * kernel_size - 1, dtype=dtype).requires_grad_()


@pytest.mark.parametrize(
    ('size', 'kernel_size', 'dilation'),
    [
        ((3, 3), 3, 1),  # one neighbourhood is the whole map
        ((6, 9), 3, 2),  # rows: exactly kernel x dilation
        ((7, 11), 3, 2),  # no multiples of the dilation: sub-maps of two sizes
        ((11, 14), 5, 2),
        ((23, 9), 3, 1),  # several tiles in a column, the last one smaller
        ((31, 19), 7, 1),
        ((10, 17), 3, 3),
    ],
)
def test_neighborhood_attention__equals_loop(size, kernel_size, dilation):
    inputs = random_inputs(size, kernel_size)
    expected = naive(*inputs, kernel_size, dilation)
    out = neighborhood_attention(*inputs, kernel_size, dilation)
    assert_close(out, expected, **DOUBLE)
    towards = torch.randn_like(out)
    grads = torch.autograd.grad(out, inputs, towards)
    for name, grad, wanted in zip(NAMES, grads, torch.autograd.grad(expected, inputs, towards), strict=True):
        assert_close(grad, wanted, **DOUBLE, msg=lambda text, name=name: f'{name}: {text}')
    with torch.no_grad():
        assert_close(neighborhood_attention(*inputs, kernel_size, dilation), expected, **DOUBLE)


def test_neighborhood_attention__gradcheck():
    inputs = random_inputs((7, 6), 3, heads=1, depth=2, batch=1)
    assert torch.autograd.gradcheck(lambda *args: neighborhood_attention(*args, 3, 2), inputs)


def wave(*shape, seed):
    count = torch.Size(shape).numel()
    return (torch.arange(count, dtype=torch.float64) * (0.7 + 0.1 * seed) + seed).sin().view(shape)


def natten_cases():
    return json.loads((Path(__file__).parents[1] / 'data/natten.json').read_text())['cases']


@pytest.mark.parametrize('case', natten_cases(), ids=lambda case: f'{case["size"]}-{case["kernel_size"]}')
def test_neighborhood_attention__equals_natten_0_14(case):
    shape, kernel_size = (1, case['heads'], *case['size'], case['depth']), case['kernel_size']
    inputs = [wave(*shape, seed=seed).requires_grad_() for seed in (1, 2, 3)]
    inputs.append(wave(case['heads'], 2 * kernel_size - 1, 2 * kernel_size - 1, seed=4).requires_grad_())
    maps = [x.permute(0, 2, 3, 1, 4) for x in inputs[:3]]
    out = neighborhood_attention(*maps, inputs[3], kernel_size, case['dilation']).permute(0, 3, 1, 2, 4)
    assert_close(out.flatten(), torch.tensor(case['output'], dtype=torch.float64), rtol=0, atol=1e-9)
    grads = torch.autograd.grad((out * wave(*shape, seed=5)).sum(), inputs)
    for name, grad in zip(NAMES, grads, strict=True):
        wanted = torch.tensor(case['grads'][name], dtype=torch.float64)
        assert_close(grad.flatten(), wanted, rtol=0, atol=1e-9, msg=lambda text, name=name: f'{name}: {text}')


@pytest.mark.skipif(compat.natten_operators() is None, reason='no natten with relative position biases is installed')
@pytest.mark.parametrize(
    ('size', 'kernel_size', 'dilation'), [((64, 33), 7, 1), ((127, 141), 7, 18), ((40, 61), 11, 3)]
)
def test_neighborhood_attention__equals_installed_natten(size, kernel_size, dilation):
    query, key, value, rpb = (x.detach() for x in random_inputs(size, kernel_size, dtype=torch.float32))
    operators = compat.natten_operators()
    heads_first = [x.permute(0, 3, 1, 2, 4).contiguous() for x in (query, key, value)]
    weights = operators.query_key(*heads_first[:2], rpb, kernel_size, dilation).softmax(-1)
    expected = operators.weights_value(weights, heads_first[2], kernel_size, dilation).permute(0, 2, 3, 1, 4)
    assert_close(neighborhood_attention(query, key, value, rpb, kernel_size, dilation), expected, rtol=1e-4, atol=1e-5)


class Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor that is made."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage().nbytes() // tensor.element_size()
                self.numel = max(self.numel, storage)
        return out


def test_neighborhood_attention__keeps_nothing_of_its_logits(monkeypatch):
    """Neither logits of the whole map nor copies of its neighbourhoods; for the backward pass the inputs alone."""
    monkeypatch.setitem(sys.modules[neighborhood_attention.__module__].CHUNK, 'cpu', 2**16)
    size, kernel_size, heads, depth = (64, 64), 7, 2, 4
    query, key, value, rpb = random_inputs(size, kernel_size, heads, depth, batch=1, dtype=torch.float32)
    kept = []
    with Largest() as largest, torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        neighborhood_attention(query, key, value, rpb, kernel_size, 2).sum().backward()
    features = query.numel()
    assert sum(x.numel() for x in kept) == 3 * features + rpb.numel()
    assert features <= largest.numel <= 4 * 2**16 < heads * 64 * 64 * kernel_size**2


def test_neighborhood_attention__compiles_in_one_graph():
    """And what is cached while tracing serves real tensors afterwards."""
    inputs = random_inputs((9, 12), 3)
    compiled = torch.compile(neighborhood_attention, backend='aot_eager', fullgraph=True)
    results = []
    for attend in (compiled, neighborhood_attention):
        out = attend(*inputs, 3, 2)
        results.append((out, *torch.autograd.grad(out.sin().sum(), inputs)))
    for traced, eager in zip(*results, strict=True):
        assert_close(traced, eager, **DOUBLE)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_neighborhood_attention__half_types(dtype):
    """Also with a bias table that autocast left in float32, and autocast on."""
    query, key, value, rpb = random_inputs((9, 12), 3, dtype=torch.float32)
    halves = [x.detach().to(dtype).requires_grad_() for x in (query, key, value)]
    with torch.autocast('cpu', torch.bfloat16):
        out = neighborhood_attention(*halves, rpb, 3, 2)
    assert out.dtype == dtype
    exact = neighborhood_attention(*(x.float() for x in halves), rpb, 3, 2)
    assert_close(out.float(), exact, rtol=0.03, atol=0.03)
    grads = torch.autograd.grad(out.sum(), (*halves, rpb))
    assert [x.dtype for x in grads] == [dtype] * 3 + [torch.float32]
    assert_close(grads[2].float(), torch.autograd.grad(exact.sum(), halves[2])[0].float(), rtol=0.03, atol=0.03)


@pytest.mark.parametrize(
    ('size', 'kernel_size', 'dilation', 'message'),
    [
        ((8, 5), 3, 2, r'8 x 5 is too small for 3 neighbours 2 apart; pad it to 6 a side'),
        ((8, 8), 4, 1, 'kernel_size is 4'),
    ],
)
def test_neighborhood_attention__says_what_does_not_fit(size, kernel_size, dilation, message):
    with pytest.raises(ValueError, match=message):
        neighborhood_attention(*random_inputs(size, kernel_size), kernel_size, dilation)


class OnGpu(torch.Tensor):
    """A tensor that says it is on a GPU."""

    is_cuda = True


def fake_natten(version, calls):
    """``natten.functional`` as of a version, computing by shifts over the neighbours."""
    functional = ModuleType('natten.functional')

    def query_key(query, key, rpb, kernel_size, dilation):
        calls.append(('qk', version))
        places = neighbours(query.shape[2:4], kernel_size, dilation)
        logits = [
            (query[:, :, y, x] * key[:, :, i, j]).sum(-1)
            + rpb[:, (i - y) // dilation + kernel_size - 1, (j - x) // dilation + kernel_size - 1]
            for y, x, i, j in places
        ]
        return torch.stack(logits, -1).view(*query.shape[:4], kernel_size**2)

    def weights_value(weights, value, kernel_size, dilation):
        calls.append(('av', version))
        out = torch.zeros_like(value)
        for n, (y, x, i, j) in enumerate(neighbours(value.shape[2:4], kernel_size, dilation)):
            out[:, :, y, x] += weights[:, :, y, x, n % kernel_size**2, None] * value[:, :, i, j]
        return out

    if version < (0, 20):
        functional.natten2dqkrpb, functional.natten2dav = query_key, weights_value
    if version == (0, 17):
        functional.na2d_qk = lambda query, key, kernel_size, dilation, *, rpb: query_key(
            query, key, rpb, kernel_size, dilation
        )
        functional.natten2dqkrpb = lambda *_: pytest.fail('the deprecated name')
        functional.na2d_av = weights_value
    return functional


def neighbours(size, kernel_size, dilation):
    return [
        (y, x, i, j)
        for y in range(size[0])
        for x in range(size[1])
        for i in nearest(y, size[0], kernel_size, dilation)
        for j in nearest(x, size[1], kernel_size, dilation)
    ]


@pytest.fixture
def install(monkeypatch):
    """Make a fake natten importable; returns the list of calls of its operators."""

    def run(version):
        calls = []
        package, functional = ModuleType('natten'), fake_natten(version, calls)
        package.__path__, package.__spec__ = [], object()
        monkeypatch.setitem(sys.modules, 'natten', package)
        monkeypatch.setitem(sys.modules, 'natten.functional', functional)
        compat.natten_operators.cache_clear()
        return calls

    yield run
    monkeypatch.undo()
    compat.natten_operators.cache_clear()


@pytest.mark.parametrize('version', [(0, 14), (0, 17), (0, 20)])
def test_natten__is_used_on_gpus_where_it_fits(install, version):
    calls = install(version)
    inputs = [x.detach().requires_grad_() for x in random_inputs((5, 8), 3, dtype=torch.float32)]
    expected = neighborhood_attention(*inputs, 3, 1)
    assert calls == []  # not on the CPU
    out = neighborhood_attention(*(x.as_subclass(OnGpu) for x in inputs), 3, 1)
    assert calls == ([] if version == (0, 20) else [('qk', version), ('av', version)])
    assert_close(out.as_subclass(torch.Tensor), expected, rtol=1e-4, atol=1e-5)
    doubles = [x.double().as_subclass(OnGpu) for x in inputs]
    calls.clear()
    neighborhood_attention(*doubles, 3, 1)
    assert calls == []  # natten's CUDA kernels are for float16 and float32


def test_natten__that_does_not_load_is_said_and_not_used(install, monkeypatch):
    install((0, 17))
    monkeypatch.setitem(sys.modules, 'natten.functional', None)  # the import fails
    with pytest.warns(UserWarning, match='natten is installed, does not load and is not used'):
        assert compat.natten_operators() is None
