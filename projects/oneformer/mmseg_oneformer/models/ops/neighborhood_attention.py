"""Neighbourhood attention (Hassani et al., NAT and DiNAT): every position attends to the K x K positions around it.

Decisions:
* With dilation d, a map is d x d interleaved sub-maps that do not attend to each other. A sub-map is cut into tiles of
  8 x 8 queries, whose neighbourhoods together are one window of at most 8 + K - 1 positions a side: a small dense
  attention with PyTorch's fused kernel and a bias that is -inf outside each query's own neighbourhood. That takes up to
  (1 + (K - 1) / 8)^2 times as many multiplications as needed and is still many times faster than K x K shifts of the
  map, which memory limits (dev/log.md has the figures). Tiles of equal geometry run together.
* Nothing of size (H, W, K, K) is kept. Tiles are processed in chunks, and the backward pass recomputes the attention of
  each chunk instead of storing it.
* natten, if installed and compatible, is used on GPUs only: its CPU kernels are slower than this.
* Rows and columns are independent, so all geometry is that of one axis; it is kept as plain integers, since tensors in
  a cache would break tracing.
"""

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...compat import natten_operators
from ...errors import UserError
from ..precision import no_autocast

TILE = 8
CHUNK = {'cpu': 2**20, 'cuda': 2**24}
"""Attention logits processed at a time: what fits a CPU's cache, and what fills a GPU."""
NATTEN_DTYPES = torch.float16, torch.float32  # of its CUDA kernels in all compatible versions


def neighborhood_attention(
    query: Tensor, key: Tensor, value: Tensor, rpb: Tensor, kernel_size: int, dilation: int = 1
) -> Tensor:
    """Attend from every position to the K x K nearest positions of its own dilation group.

    Neighbourhoods are moved inwards at borders, so that every query has exactly K x K keys (natten 0.14 to 0.17).

    Args:
        query: (B, H, W, heads, D), already scaled by D ** -0.5.
        key: (B, H, W, heads, D).
        value: (B, H, W, heads, D).
        rpb: (heads, 2K - 1, 2K - 1), bias by relative position; [K - 1, K - 1] is the query's own.
        kernel_size: K, odd.
        dilation: Step between neighbours; H and W are at least K * dilation.

    Returns:
        (B, H, W, heads, D).

    Raises:
        UserError: The map is smaller than a neighbourhood, or K is even.
    """
    height, width = query.shape[1:3]
    if kernel_size % 2 == 0:
        raise UserError(f'kernel_size is {kernel_size}; set an odd one, so that a neighbourhood has a centre.')
    if min(height, width) < kernel_size * dilation:
        raise UserError(
            f'A map of {height} x {width} is too small for {kernel_size} neighbours {dilation} apart; pad it to '
            f'{kernel_size * dilation} a side.'
        )
    operators = natten_operators() if query.is_cuda and query.dtype in NATTEN_DTYPES else None
    if operators is not None:
        return _by_natten(operators, query, key, value, rpb, kernel_size, dilation)
    if torch.is_grad_enabled() and any(x.requires_grad for x in (query, key, value, rpb)):
        return _TiledAttention.apply(query, key, value, rpb, kernel_size, dilation)
    return _tiled_attention(query, key, value, rpb, kernel_size, dilation)


class AxisTiles(NamedTuple):
    """Tiles of equal geometry along one axis: n tiles of t queries and l keys each."""

    queries: list[list[int]]  # (n, t) positions
    keys: list[list[int]]  # (n, l) positions
    offsets: tuple[tuple[int, ...], ...]  # (t, l), key - query + K - 1 in steps of the dilation; -1: no neighbour


@lru_cache(maxsize=1024)
def axis_tiles(length: int, kernel_size: int, dilation: int) -> tuple[AxisTiles, ...]:
    """Cut an axis into tiles, those of equal geometry together.

    Args:
        length: Positions on the axis, at least ``kernel_size * dilation``.
        kernel_size: K.
        dilation: Step between neighbours.

    Returns:
        All tiles; every position is a query of exactly one of them.
    """
    found: dict[tuple[tuple[int, ...], ...], AxisTiles] = {}
    for first in range(dilation):
        group = range(first, length, dilation)
        size = len(group)
        last_start = size - kernel_size
        # No cut if a window would be the whole group anyway; otherwise tiles of about the same size.
        tile = size if size < TILE + kernel_size else math.ceil(size / math.ceil(size / TILE))
        for begin in range(0, size, tile):
            rows = range(begin, min(begin + tile, size))
            window = min(size, len(rows) + kernel_size - 1)
            left = min(max(begin - kernel_size // 2, 0), size - window)
            offsets = []
            for row in rows:
                start = min(max(row - kernel_size // 2, 0), last_start)
                columns = range(left, left + window)
                offsets.append(
                    tuple(k - row + kernel_size - 1 if 0 <= k - start < kernel_size else -1 for k in columns)
                )
            tiles = found.setdefault(tuple(offsets), AxisTiles([], [], tuple(offsets)))
            tiles.queries.append([group[row] for row in rows])
            tiles.keys.append(list(group[left : left + window]))
    return tuple(found.values())


class _Tiles(NamedTuple):
    """Tiles of a map: n tiles of t queries and l keys each."""

    queries: Tensor  # int64 (n, t), positions in the flattened map
    keys: Tensor  # int64 (n, l), the same
    offsets: Tensor  # int64 (t, l), places in the flattened rpb
    blocked: Tensor  # bool (t, l), True where the key is not a neighbour of the query

    def bias(self, rpb: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the bias that is added to the logits, (heads, t, l)."""
        return rpb.flatten(1)[:, self.offsets].masked_fill(self.blocked, -math.inf).to(dtype)

    def chunks(self, logits_per_pair: int) -> list[tuple[Tensor, Tensor]]:
        """Return queries and keys of as many tiles as may be processed at a time."""
        limit = CHUNK.get(self.queries.device.type, CHUNK['cpu'])
        step = max(1, limit // (logits_per_pair * self.blocked.numel()))
        return list(zip(self.queries.split(step), self.keys.split(step)))


def _map_tiles(size: tuple[int, int], kernel_size: int, dilation: int, device: torch.device) -> Iterator[_Tiles]:
    """Yield the tiles of a map (H, W), one item for each geometry."""

    def on_device(values: Any) -> Tensor:
        return torch.tensor(values).to(device, non_blocking=True)

    def crossed(rows: Tensor, columns: Tensor) -> Tensor:
        return (rows[:, None, :, None] + columns[None, :, None, :]).flatten(2).flatten(0, 1)

    height, width = size
    columns = [[on_device(part) for part in tiles] for tiles in axis_tiles(width, kernel_size, dilation)]
    for tiles in axis_tiles(height, kernel_size, dilation):
        row_queries, row_keys, row_offsets = (on_device(part) for part in tiles)
        for column_queries, column_keys, column_offsets in columns:
            offsets = crossed(row_offsets.clamp(min=0) * (2 * kernel_size - 1), column_offsets.clamp(min=0))
            yield _Tiles(
                crossed(row_queries * width, column_queries),
                crossed(row_keys * width, column_keys),
                offsets,
                crossed((row_offsets < 0).int(), (column_offsets < 0).int()) > 0,
            )


def _attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Attend within tiles: (B, n, t, heads, D) to (B, n, l, heads, D), bias (heads, t, l); (B, n, t, heads, D)."""
    q, k, v = (x.flatten(0, 1).transpose(1, 2) for x in (query, key, value))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.expand(q.shape[0], -1, -1, -1), scale=1.0)
    return out.transpose(1, 2).unflatten(0, query.shape[:2])


def _tiled_attention(query: Tensor, key: Tensor, value: Tensor, rpb: Tensor, kernel_size: int, dilation: int) -> Tensor:
    """Neighbourhood attention without a graph; arguments as for ``neighborhood_attention``."""
    batch, height, width, heads, _ = query.shape
    q, k, v = (x.flatten(1, 2) for x in (query, key, value))
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    with no_autocast(query):
        for tiles in _map_tiles((height, width), kernel_size, dilation, query.device):
            bias = tiles.bias(rpb, q.dtype)
            for queries, keys in tiles.chunks(batch * heads):
                out[:, queries] = _attend(q[:, queries], k[:, keys], v[:, keys], bias)
    return out.unflatten(1, (height, width))


class _TiledAttention(torch.autograd.Function):
    """``_tiled_attention`` with a backward pass that recomputes each chunk, so that no logits are stored."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        """Arguments of ``neighborhood_attention``."""
        *tensors, kernel_size, dilation = inputs
        ctx.save_for_backward(*tensors)
        ctx.neighborhood = kernel_size, dilation
        return _tiled_attention(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of query, key, value and rpb."""
        query, key, value, rpb = ctx.saved_tensors
        kernel_size, dilation = ctx.neighborhood
        batch, height, width, heads, _ = query.shape
        flat = [x.flatten(1, 2) for x in (query, key, value)]
        grad = grad.flatten(1, 2)
        totals = [torch.zeros_like(x, memory_format=torch.contiguous_format) for x in flat]
        grad_rpb = torch.zeros_like(rpb).flatten(1)
        with no_autocast(query):
            for tiles in _map_tiles((height, width), kernel_size, dilation, query.device):
                bias = tiles.bias(rpb, query.dtype)
                grad_bias = torch.zeros_like(bias, dtype=rpb.dtype)
                for queries, keys in tiles.chunks(batch * heads):
                    places = queries, keys, keys
                    q, k, v = (x[:, place] for x, place in zip(flat, places, strict=True))
                    *grads, grad_logits = _attend_backward(q, k, v, bias, grad[:, queries])
                    grad_bias += grad_logits.sum(0, dtype=rpb.dtype)
                    for total, part, place in zip(totals, grads, places, strict=True):
                        total.index_add_(1, place.flatten(), part.flatten(1, 2))
                # Blocked pairs share a place with some neighbour; their gradient is 0.
                grad_rpb.index_add_(1, tiles.offsets.flatten(), grad_bias.flatten(1))
        return *(x.unflatten(1, (height, width)) for x in totals), grad_rpb.view_as(rpb), None, None


def _attend_backward(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, grad: Tensor) -> tuple[Tensor, ...]:
    """Gradients of ``_attend``'s first three arguments, and of its logits (B * n, heads, t, l)."""
    q, k, v, g = (x.flatten(0, 1).transpose(1, 2) for x in (query, key, value, grad))
    weights = (q @ k.transpose(2, 3) + bias).softmax(-1)
    grad_v = weights.transpose(2, 3) @ g
    grad_weights = g @ v.transpose(2, 3)
    grad_logits = weights * (grad_weights - (weights * grad_weights).sum(-1, keepdim=True))
    grads = grad_logits @ k, grad_logits.transpose(2, 3) @ q, grad_v
    return *(x.transpose(1, 2).unflatten(0, query.shape[:2]) for x in grads), grad_logits


def _by_natten(
    operators: Any, query: Tensor, key: Tensor, value: Tensor, rpb: Tensor, kernel_size: int, dilation: int
) -> Tensor:
    """The same with natten's kernels, which expect the heads before the map."""
    q, k, v = (x.permute(0, 3, 1, 2, 4).contiguous() for x in (query, key, value))
    logits = operators.query_key(q, k, rpb.to(q.dtype), kernel_size, dilation)
    return operators.weights_value(logits.softmax(-1), v, kernel_size, dilation).permute(0, 2, 3, 1, 4)
