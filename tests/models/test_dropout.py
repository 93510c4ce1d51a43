"""Dropout on the CPU against PyTorch's arithmetic with the same mask, and its distribution."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from mmseg_oneformer.models.layers import Attention, FeedForward
from mmseg_oneformer.models.ops import dropout as ops
from mmseg_oneformer.models.ops.dropout import Dropout, attention, draw_kept, dropout, relu_dropout

P = 0.3
EXACT = {'rtol': 1e-12, 'atol': 1e-12}


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype).requires_grad_()


def same_mask(shape):
    """The mask that the next call draws, as factors."""
    state = torch.get_rng_state()
    kept, scale = draw_kept(shape, P)
    torch.set_rng_state(state)
    return kept.double() * scale


def gradients(out, *inputs):
    return torch.autograd.grad((out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum(), inputs)


def plain_attention(q, k, v, factors):
    weights = (q @ k.transpose(2, 3) * q.shape[3] ** -0.5).softmax(-1) * factors
    return weights @ v.expand(len(q), -1, -1, -1)


@pytest.mark.parametrize('shared', [False, True], ids=['values an image', 'shared values'])
@pytest.mark.parametrize('chunk', [2**22, 20, 1], ids=['whole', 'two rows', 'one row'])
def test_attention__equals_plain_form_with_the_same_mask(shared, chunk, monkeypatch):
    monkeypatch.setattr(ops, 'CHUNK', chunk)
    q, k, v = randn(2, 3, 5, 4), randn(2, 3, 9, 4, seed=1), randn(1 if shared else 2, 3, 9, 6, seed=2)
    factors = same_mask((2, 3, 5, 9))
    ours, plain = attention(q, k, v, P), plain_attention(q, k, v, factors)
    assert_close(ours, plain, **EXACT)
    for got, wanted in zip(gradients(ours, q, k, v), gradients(plain, q, k, v), strict=True):
        assert_close(got, wanted, **EXACT)


def test_attention__autocast_stays_exact_inside():
    q, k, v = (randn(1, 2, 7, 8, seed=i, dtype=torch.bfloat16) for i in range(3))
    factors = same_mask((1, 2, 7, 7))
    with torch.autocast('cpu', torch.bfloat16):
        out = attention(q, k, v, P)
    plain = plain_attention(q.double(), k.double(), v.double(), factors)
    assert_close(out, plain.bfloat16())
    for got, wanted in zip(gradients(out, q, k, v), gradients(plain, q, k, v), strict=True):
        assert got.dtype == torch.bfloat16
        assert_close(got, wanted, rtol=0.05, atol=0.05)


def test_attention__backward_inside_of_autocast():
    q, k, v = (randn(1, 2, 7, 8, seed=i, dtype=torch.float32) for i in range(3))
    out = attention(q, k, v, P)
    expected = torch.autograd.grad(out.sum(), (q, k, v), retain_graph=True)
    with torch.autocast('cpu', torch.bfloat16):
        assert_close(torch.autograd.grad(out.sum(), (q, k, v)), expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ('ours', 'plain'), [(dropout, lambda x: x), (relu_dropout, F.relu)], ids=['dropout', 'relu_dropout']
)
def test_dropout__equals_plain_form_with_the_same_mask(ours, plain):
    x = randn(7, 11)
    factors = same_mask(x.shape)
    out, expected = ours(x, P), plain(x) * factors
    assert_close(out, expected, **EXACT)
    assert_close(gradients(out, x), gradients(expected, x), **EXACT)


def test_draw_kept__is_independent_with_the_right_probability():
    torch.manual_seed(0)
    kept, scale = draw_kept((1000, 1003), 0.1)
    deviation = (0.1 * 0.9 / kept.numel()) ** 0.5
    assert abs(kept.double().mean().item() - 0.9) < 5 * deviation
    assert scale == pytest.approx(1 / 0.9, rel=1e-5)
    centred = kept.flatten().double() - 0.9
    for lag in (1, 2, 3, 4, 1003):  # neighbours come out of one random number
        assert abs((centred[lag:] * centred[:-lag]).mean().item()) < 5 * 0.09 / kept.numel() ** 0.5
    assert not torch.equal(kept, draw_kept((1000, 1003), 0.1)[0])


@pytest.mark.parametrize('p', [0.0, 1e-9, 1 - 1e-9, 1.0])
def test_dropout__bounds_of_the_probability(p):
    x = randn(4, 8)
    assert_close(dropout(x, p), x * round(1 - p))
    assert_close(relu_dropout(x, p), F.relu(x) * round(1 - p))


def test_dropout__follows_the_seed_and_the_mode():
    x, module = randn(4, 50), Dropout(0.5)
    torch.manual_seed(3)
    first = module(x)
    torch.manual_seed(3)
    assert torch.equal(first, module(x))
    assert not torch.equal(first, module(x))
    assert torch.equal(module.eval()(x), x)


def test_layers__drop_in_training_only():
    """Against PyTorch's own module, with the same parameters."""
    ours, theirs = Attention(8, 2, dropout=0.5).double(), nn.MultiheadAttention(8, 2, batch_first=True).double()
    theirs.load_state_dict(ours.state_dict())
    x, forward = randn(2, 5, 8), FeedForward(8, 16, dropout=0.5).double()
    assert_close(ours.eval()(x, x, x), theirs(x, x, x)[0])
    assert not torch.equal(ours.train()(x, x, x), ours(x, x, x))
    assert torch.equal(forward.eval()(x), x + forward.linear2(F.relu(forward.linear1(x))))
    assert not torch.equal(forward.train()(x), forward(x))
    many = randn(200, 8)
    assert 0.4 < (forward(many) == many).double().mean() < 0.6, 'where the branch is dropped, the shortcut is left'


def test_compiled__takes_pytorchs_functions():
    """Autograd functions with random numbers inside would break graphs."""
    graphs = []

    def backend(graph, _):
        graphs.append({str(node.target) for node in graph.graph.nodes})
        return graph.forward

    x = randn(1, 2, 4, 8)
    torch.compile(lambda x: relu_dropout(dropout(x, P), P) + attention(x, x, x, P), backend=backend, fullgraph=True)(x)
    (called,) = graphs
    assert any('scaled_dot_product_attention' in name for name in called)
    torch._dynamo.reset()
