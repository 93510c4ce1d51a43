"""DiNAT's neighbourhood attention in a form that can be traced with dynamic sizes.

The operator for training cuts a map into tiles with loops over its sizes. Here all tiles have 8 x 8 queries and equally
many keys, and their positions are computed in the graph.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.backbones.dinat import NeighborhoodAttention

__all__ = ['traceable_dinat']

TILE = 8


@contextmanager
def traceable_dinat() -> Iterator[None]:
    """Let our DiNAT compute in this form inside the ``with`` block; predictions are the same."""
    with patch.object(NeighborhoodAttention, 'forward', attend_to_neighbours):
        yield


class Axis(NamedTuple):
    """The tiles along an axis of L positions: n of them, t queries and l keys each."""

    queries: Tensor  # int64 (n * t,), positions; L where there is none
    keys: Tensor  # int64 (n * l,), positions; L, which holds zeros, if a map is smaller than a neighbourhood
    offsets: Tensor  # int64 (n, t, l), key - query + K - 1 in steps of the dilation
    neighbours: Tensor  # bool (n, t, l)
    places: Tensor  # int64 (L,), where each position is among the queries


def attend_to_neighbours(self: Any, x: Tensor) -> Tensor:
    """Attend from each position of a map (B, H, W, C) to its K x K neighbours."""
    heads = self.num_heads
    rows, columns = (axis(length, self.kernel_size, self.dilation, x.device) for length in x.shape[1:3])
    query, key, value = self.qkv(F.pad(x, (0, 0, 0, 1, 0, 1))).chunk(3, -1)
    q = _tiles(query, rows.queries, columns.queries, TILE, heads) * (x.shape[3] // heads) ** -0.5
    k, v = (_tiles(part, rows.keys, columns.keys, TILE + self.kernel_size - 1, heads) for part in (key, value))
    bias = self.rpb[:, rows.offsets[:, None, :, None, :, None], columns.offsets[None, :, None, :, None, :]]
    near = rows.neighbours[:, None, :, None, :, None] & columns.neighbours[None, :, None, :, None, :]
    bias = bias.masked_fill(~near, -math.inf).flatten(5, 6).flatten(3, 4).permute(1, 2, 0, 3, 4)
    out = (q @ k.transpose(4, 5) + bias).softmax(5) @ v  # (B, n, m, heads, t * t, C / heads)
    out = out.unflatten(4, (TILE, TILE)).permute(0, 1, 4, 2, 5, 3, 6).flatten(5).flatten(3, 4).flatten(1, 2)
    return self.proj(out[:, rows.places][:, :, columns.places])


def axis(length: int, kernel_size: int, dilation: int, device: torch.device) -> Axis:
    """Cut an axis of ``length`` positions into tiles, each inside one dilation group."""

    def first_neighbour(step: Tensor) -> Tensor:
        return torch.minimum((step - kernel_size // 2).clamp(min=0), size - kernel_size)

    count = (length + dilation * TILE - 1) // (dilation * TILE)
    group = torch.arange(dilation, device=device)[:, None, None]  # (groups, tiles, positions) from here on
    position = torch.arange(length, device=device)
    end = position[-1:] + 1  # L as a tensor: reading sizes would tie the graph to them.
    size = (end.clamp(min=kernel_size * dilation) - group + dilation - 1) // dilation
    begin = torch.arange(count, device=device)[None, :, None] * TILE
    query = begin + torch.arange(TILE, device=device)
    key = first_neighbour(begin) + torch.arange(TILE + kernel_size - 1, device=device)
    rank = key[:, :, None] - first_neighbour(query)[..., None]  # (groups, tiles, t, l)
    offsets = (key[:, :, None] - query[..., None] + kernel_size - 1).clamp(0, 2 * kernel_size - 2)
    return Axis(
        torch.minimum(query * dilation + group, end).flatten(),
        torch.minimum(torch.minimum(key, size - 1) * dilation + group, end).flatten(),
        offsets.flatten(0, 1),
        ((rank >= 0) & (rank < kernel_size)).flatten(0, 1),
        position % dilation * (count * TILE) + position // dilation,
    )


def _tiles(x: Tensor, rows: Tensor, columns: Tensor, side: int, heads: int) -> Tensor:
    """Cut a map (B, H, W, C) into tiles (B, n, m, heads, side * side, C / heads)."""
    x = x[:, rows][:, :, columns].unflatten(3, (heads, -1))
    x = x.unflatten(2, (-1, side)).unflatten(1, (-1, side))  # (B, n, side, m, side, heads, C / heads)
    return x.permute(0, 1, 3, 5, 2, 4, 6).flatten(4, 5)
