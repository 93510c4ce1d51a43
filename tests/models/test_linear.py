"""Linear layers by oneDNN's convolution: the same numbers as PyTorch's own, wherever they run."""

import copy
import importlib

import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.wrappers import Linear as MmcvLinear
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from mmseg_oneformer.models.ops import apply_linear, linear, use_fast_linear

module = importlib.import_module('mmseg_oneformer.models.ops.linear')


@pytest.fixture
def convolves(monkeypatch):
    """Take the convolution on any processor and for any size."""
    monkeypatch.setattr(module, 'MIN_PRODUCTS', 0)
    monkeypatch.setattr(module, 'ONEDNN_IS_FASTER', True)
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 2)


class Operators(TorchDispatchMode):
    """Names of all operators that run."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def operators_of(*args):
    with Operators() as operators:
        linear(*args)
    return operators.names


def arguments(shape=(2, 3, 5, 24), width=40, dtype=torch.float32):
    torch.manual_seed(0)
    tensors = (
        torch.randn(shape, dtype=dtype),
        torch.randn(width, shape[-1], dtype=dtype),
        torch.randn(width, dtype=dtype),
    )
    return [tensor.requires_grad_() for tensor in tensors]


def results(function, args, grad):
    for tensor in args:
        tensor.grad = None
    out = function(*args)
    (out * grad).sum().backward()
    return [out.detach(), *(tensor.grad for tensor in args)]


@pytest.mark.parametrize('shape', [(24,), (7, 24), (2, 3, 5, 24), (1, 1, 24), (3, 1)])
@pytest.mark.parametrize('has_bias', [True, False])
def test_linear__output_and_gradients_are_those_of_pytorch(convolves, shape, has_bias):
    args = arguments(shape)[: 3 if has_bias else 2]
    grad = torch.randn(*shape[:-1], 40)
    assert 'convolution' in operators_of(*args)
    exact = [tensor.detach().double().requires_grad_() for tensor in args]
    for ours, plain in zip(results(linear, args, grad), results(F.linear, exact, grad.double()), strict=True):
        assert ours.shape == plain.shape
        torch.testing.assert_close(ours.double(), plain, rtol=1e-5, atol=1e-5)


def test_linear__rows_that_are_no_neighbours_in_memory(convolves):
    x, weight, bias = torch.randn(2, 24, 6), *arguments((24,))[1:]
    for view in (x.transpose(1, 2), x.transpose(1, 2)[:, 1:], x.transpose(1, 2)[:, ::2]):
        out = linear(view, weight, bias)
        assert out.is_contiguous()  # fused attention takes no others
        torch.testing.assert_close(out, F.linear(view, weight, bias), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    'case', ['float64', 'bfloat16', 'autocast', 'no rows', 'small', 'other processor', 'one thread', 'meta', 'export']
)
def test_linear__what_is_not_faster_stays_as_it_was(monkeypatch, case):
    monkeypatch.setattr(module, 'ONEDNN_IS_FASTER', case != 'other processor')
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 1 if case == 'one thread' else 2)
    monkeypatch.setattr(module, 'is_exporting', lambda: case == 'export')  # by compat: torch 2.6 has no such function
    if case not in ('small', 'no rows'):
        monkeypatch.setattr(module, 'MIN_PRODUCTS', 0)
    shape = (0, 24) if case == 'no rows' else (4, 24)
    args = arguments(shape, dtype={'float64': torch.float64, 'bfloat16': torch.bfloat16}.get(case, torch.float32))
    if case == 'meta':
        args = [tensor.to('meta') for tensor in args]
    with torch.autocast('cpu', enabled=case == 'autocast', dtype=torch.bfloat16):
        assert 'convolution' not in operators_of(*args)
        assert linear(*args).shape == (*shape[:-1], 40)


FOLLOWED = {
    'nothing': ({}, lambda x: x),
    'relu': ({'activation': 'relu'}, F.relu),
    'gelu': ({'activation': 'gelu'}, F.gelu),
    'shortcut': ({'shortcut': torch.full((2, 3, 5, 40), 0.5)}, lambda x: 0.5 + x),
}


@pytest.mark.parametrize('kind', FOLLOWED)
@pytest.mark.parametrize('has_bias', [True, False])
def test_linear__with_what_follows_it(kind, has_bias):
    """In one operator without gradients, in several with them, and the same numbers."""
    options, follow = FOLLOWED[kind]
    x, weight, bias = arguments()
    bias = bias if has_bias else None
    expected = follow(F.linear(x.double(), weight.double(), None if bias is None else bias.double()))
    for grad in (True, False):
        with torch.set_grad_enabled(grad), Operators() as operators:
            out = linear(x.detach() if not grad else x, weight, bias, **options)
        assert ('_linear_pointwise' in operators.names) is not grad
        torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_linear__rows_and_shortcuts_of_other_strides():
    x, weight, bias = torch.randn(2, 24, 6).transpose(1, 2), *arguments((24,))[1:]
    shortcut = torch.randn(1, 40, 6).transpose(1, 2).expand(2, -1, -1)
    expected = F.linear(x, weight, bias) + shortcut
    torch.testing.assert_close(linear(x, weight, bias, shortcut=shortcut), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize('case', ['float64', 'autocast', 'no rows', 'meta', 'export', 'fake', 'switched off'])
def test_linear__what_the_fused_operator_does_not_take(monkeypatch, case):
    shape = (0, 24) if case == 'no rows' else (4, 24)
    args = [x.detach() for x in arguments(shape, dtype=torch.float64 if case == 'float64' else torch.float32)]
    monkeypatch.setattr(module, 'is_exporting', lambda: case == 'export')
    if case == 'meta':
        args = [tensor.to('meta') for tensor in args]
    if case == 'fake':
        mode = FakeTensorMode()
        args = [mode.from_tensor(tensor) for tensor in args]
    with (
        torch.autocast('cpu', enabled=case == 'autocast', dtype=torch.bfloat16),
        torch.backends.mkldnn.flags(enabled=case != 'switched off'),
        Operators() as operators,
    ):
        out = linear(*args, 'relu')
    assert '_linear_pointwise' not in operators.names
    assert out.shape == (*shape[:-1], 40)


@torch.no_grad()
def test_apply_linear__another_layer_or_a_hook_is_not_passed_over():
    layer, x, shortcut = use_fast_linear(nn.Linear(24, 24)), torch.randn(3, 24), torch.randn(3, 24)
    plain = nn.Linear(24, 24)
    plain.load_state_dict(layer.state_dict())
    expected = plain(x)
    seen = []
    for one in (layer, plain):
        torch.testing.assert_close(apply_linear(one, x, 'gelu'), F.gelu(expected))
        torch.testing.assert_close(apply_linear(one, x, shortcut=shortcut), shortcut + expected)
    layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    torch.testing.assert_close(apply_linear(layer, x, 'relu'), F.relu(expected))
    torch.testing.assert_close(seen[0], expected)


def test_use_fast_linear__layers_of_all_libraries_keep_names_and_numbers(convolves):
    class Own(nn.Linear):
        def forward(self, x):
            return super().forward(x) + 1

    model = nn.Sequential(nn.Linear(8, 8), nn.ModuleDict({'deep': MmcvLinear(8, 8)})['deep'], Own(8, 8))
    x = torch.randn(3, 8)
    names, plain = list(model.state_dict()), model(x)
    use_fast_linear(model)
    assert [type(layer) for layer in model] == [module.Linear, module.Linear, Own]
    assert list(model.state_dict()) == names
    torch.testing.assert_close(model(x), plain)
    torch.testing.assert_close(copy.deepcopy(model)(x), plain)


def test_oneformer__every_linear_layer_is_fast(build):
    kinds = {type(layer) for layer in build().modules() if isinstance(layer, nn.Linear)}
    assert kinds == {module.Linear, nn.modules.linear.NonDynamicallyQuantizableLinear}  # of the text's own attention


def test_linear__is_traced_whole(convolves):
    args = arguments()
    compiled = torch.compile(linear, fullgraph=True, backend='eager')
    assert torch.equal(compiled(*args), linear(*args))


@torch.no_grad()
def test_linear__the_compiler_sees_plain_operators():
    graphs = []
    compiled = torch.compile(
        linear, fullgraph=True, backend=lambda graph, _: graphs.append(graph.code) or graph.forward
    )
    args = [x.detach() for x in arguments((4, 24))]
    torch.testing.assert_close(compiled(*args, 'gelu'), linear(*args, 'gelu'))
    assert len(graphs) == 1 and 'linear_pointwise' not in graphs[0]
