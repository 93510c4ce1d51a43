"""Dropout whose memory and random numbers a CPU can afford.

On the CPU, PyTorch's dropout keeps a float for every element until the backward pass, and its attention with dropout
keeps the weights four times over. Here a mask is one byte per element, made from 16 random bits; after a ReLU nothing
extra is kept; attention weights are recomputed in the backward pass. The arithmetic is PyTorch's. A probability is
rounded to 1/65536, and kept elements are divided by exactly the rounded probability of keeping one, so that
expectations are exact. GPUs and ``torch.compile`` have fused forms of their own and use PyTorch's functions.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..precision import at_least_fp32, no_autocast

LEVELS = 2**16  # of a random number
CHUNK = 2**22  # attention weights computed at a time: 16 MB in fp32


def is_ours(x: Tensor, p: float) -> bool:
    """Whether dropout of ``x`` with probability ``p`` is done here."""
    return 0 < round(p * LEVELS) < LEVELS and x.device.type == 'cpu' and not torch.compiler.is_compiling()


def draw_kept(shape: tuple[int, ...], p: float) -> tuple[Tensor, float]:
    """Draw which elements dropout with probability 0 < p < 1 keeps: bool ``shape`` on the CPU, and their scale.

    Four elements share one 64-bit number of PyTorch's generator: a quarter of the time of ``bernoulli_``.
    """
    count, dropped = torch.Size(shape).numel(), round(p * LEVELS)
    bits = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    return (bits[:count] >= dropped - LEVELS // 2).view(shape), LEVELS / (LEVELS - dropped)


class _Dropout(torch.autograd.Function):
    """Keeps one byte per element."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        kept, ctx.scale = draw_kept(x.shape, p)
        ctx.save_for_backward(kept)
        return (x * ctx.scale).mul_(kept)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return (grad * ctx.scale).mul_(kept), None


class _ReluDropout(torch.autograd.Function):
    """Keeps only its result, which the next layer keeps anyway: where it is 0, no gradient passes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        kept, ctx.scale = draw_kept(x.shape, p)
        out = x.clamp_min(0).mul_(ctx.scale).mul_(kept)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (out,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(grad, out, 0).mul_(ctx.scale), None


class _Attention(torch.autograd.Function):
    """Keeps one byte per weight; one image and head at a time, so that weights stay in the cache."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, p: float) -> Tensor:
        kept, ctx.scale = draw_kept((*q.shape[:3], k.shape[2]), p)
        out = torch.empty(q.shape[0], q.shape[2], q.shape[1], v.shape[3], dtype=q.dtype).transpose(1, 2)
        with no_autocast(q):
            for at, rows, keys, values in chunks(q, k, v):
                weights = attention_weights(rows, keys).mul_(kept[at])
                out[at] = (weights @ values).mul_(ctx.scale)
        ctx.save_for_backward(q, k, v, out, kept)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, kept = ctx.saved_tensors
        exact = at_least_fp32(q.dtype)
        grads = [torch.zeros_like(x, dtype=exact) for x in (q, k, v)]
        with no_autocast(q):  # in case backward() is called inside autocast
            for at, rows, keys, values in chunks(q, k, v):
                image, head, _ = at
                grad_q, grad_k, grad_v = grads[0][at], grads[1][image, head], grads[2][image % len(v), head]
                grad_out = grad[at].to(exact)
                # The sum over keys in softmax's gradient equals that of gradient times result, even with dropout.
                mean = (grad_out * out[at]).sum(-1, keepdim=True)
                grad_out = grad_out * ctx.scale
                weights = attention_weights(rows, keys)
                grad_logits = (grad_out @ values.T).mul_(kept[at]).sub_(mean).mul_(weights)
                grad_v.addmm_(weights.mul_(kept[at]).T, grad_out)
                grad_q.addmm_(grad_logits, keys, alpha=rows.shape[1] ** -0.5)
                grad_k.addmm_(grad_logits.T, rows, alpha=rows.shape[1] ** -0.5)
        return *(x.to(q.dtype) for x in grads), None


def chunks(q: Tensor, k: Tensor, v: Tensor) -> Iterator[tuple[tuple[int, int, slice], Tensor, Tensor, Tensor]]:
    """Some queries of one image and head at a time: their index in ``q``, then they, their keys and values (., D)."""
    images, heads, length, _ = q.shape
    step = max(1, CHUNK // k.shape[2])
    exact = at_least_fp32(q.dtype)
    for image in range(images):
        for head in range(heads):
            keys, values = k[image, head].to(exact), v[image % len(v), head].to(exact)
            for start in range(0, length, step):
                at = image, head, slice(start, start + step)
                yield at, q[at].to(exact), keys, values


def attention_weights(q: Tensor, k: Tensor) -> Tensor:
    """Softmax of scaled products of (L, D) and (S, D): (L, S)."""
    return (q * q.shape[1] ** -0.5 @ k.T).softmax(-1)


def dropout(x: Tensor, p: float) -> Tensor:
    """Zero elements of ``x`` with probability ``p`` and scale the others up, as ``F.dropout`` does in training."""
    return _Dropout.apply(x, p) if is_ours(x, p) else F.dropout(x, p)


def relu_dropout(x: Tensor, p: float) -> Tensor:
    """Dropout after a ReLU, in training."""
    return _ReluDropout.apply(x, p) if is_ours(x, p) else F.dropout(F.relu(x), p)


def attention(q: Tensor, k: Tensor, v: Tensor, p: float) -> Tensor:
    """Attention whose weights are dropped with probability ``p``, in training.

    Args:
        q: (B, heads, L, D).
        k: (B, heads, S, D).
        v: (B, heads, S, D), or (1, heads, S, D) when it is the same for all images.
        p: probability, 0..1.

    Returns:
        (B, heads, L, D).
    """
    if is_ours(q, p):
        return _Attention.apply(q, k, v, p)
    return F.scaled_dot_product_attention(q, k, v.expand(len(k), -1, -1, -1), dropout_p=p)


class Dropout(nn.Dropout):
    """PyTorch's module with the function above."""

    def forward(self, x: Tensor) -> Tensor:
        """Drop elements of ``x`` in training."""
        return dropout(x, self.p) if self.training else x
