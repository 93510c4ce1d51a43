"""Multi-scale deformable attention on a GPU, forward and backward, in Triton: no build step, any floating dtype.

Decisions:
* A program handles a block of queries of one head: each corner of a sample is one load of a whole table row per query.
* Values may be fp16 or bf16; coordinates, weights, sums and all gradients are fp32 until they are stored.
* Gradients of the values are added up atomically, in no fixed order: ``ms_deform_attn`` does not use this module to
  train with deterministic algorithms.
* Triton launches on the current GPU, which need not be that of the tensors (``device='cuda:1'``), so that is set first.
* Corners outside the map are not loaded, nor are those of locations that are NaN.

Imported only where needed, since Triton comes only with PyTorch's GPU builds.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 16
"""Queries per program; 32 leave too few registers for the gradients."""


@triton.jit
def _coordinates(
    locations: tl.tensor,
    weights: tl.tensor,
    row: tl.tensor,
    column: tl.tensor,
    columns: tl.tensor,
    width: tl.tensor,
    height: tl.tensor,
    used: tl.tensor,
) -> tl.tuple:
    """Pixel coordinates (x, y) and weights of a sample of each query."""
    x = tl.load(locations + row * 2 * columns + column, mask=used, other=0.0).to(tl.float32) * width - 0.5
    y = tl.load(locations + (row * 2 + 1) * columns + column, mask=used, other=0.0).to(tl.float32) * height - 0.5
    return x, y, tl.load(weights + row * columns + column, mask=used, other=0.0).to(tl.float32)


@triton.jit
def _corner(
    x: tl.tensor, y: tl.tensor, dx: tl.constexpr, dy: tl.constexpr, width: tl.tensor, height: tl.tensor, used: tl.tensor
) -> tl.tuple:
    """Position in the level of a corner, whether it is in the map, and the corner's share along x and y."""
    left, top = tl.floor(x), tl.floor(y)
    column, line = left + dx, top + dy
    inside = used & (column >= 0) & (column < width) & (line >= 0) & (line < height)
    share_x = x - left if dx else 1 - (x - left)
    share_y = y - top if dy else 1 - (y - top)
    position = tl.where(inside, line, 0.0).to(tl.int32) * width + tl.where(inside, column, 0.0).to(tl.int32)
    return position, inside, share_x, share_y


@triton.jit
def _forward_kernel(
    value: tl.tensor,
    levels: tl.tensor,
    locations: tl.tensor,
    weights: tl.tensor,
    out: tl.tensor,
    tokens: tl.tensor,
    queries: tl.tensor,
    heads: tl.constexpr,
    depth: tl.constexpr,
    num_levels: tl.constexpr,
    points: tl.constexpr,
    block: tl.constexpr,
    padded_depth: tl.constexpr,
) -> None:
    query = tl.program_id(0) * block + tl.arange(0, block)
    head, image = tl.program_id(1), tl.program_id(2).to(tl.int64)
    channel = tl.arange(0, padded_depth)
    used = query < queries
    row = image * queries + query
    total = tl.zeros((block, padded_depth), dtype=tl.float32)
    columns = heads * num_levels * points
    for sample in range(num_levels * points):  # unrolled, it takes half a minute to compile and all registers
        level = levels + sample // points * 3
        height, width, start = tl.load(level), tl.load(level + 1), tl.load(level + 2)
        first = image * tokens + start
        column = head * num_levels * points + sample
        x, y, weight = _coordinates(locations, weights, row, column, columns, width, height, used)
        for corner in tl.static_range(4):
            position, inside, share_x, share_y = _corner(x, y, corner % 2, corner // 2, width, height, used)
            rows = value + ((first + position) * heads + head)[:, None] * depth + channel[None]
            mask = inside[:, None] & (channel < depth)[None]
            loaded = tl.load(rows, mask=mask, other=0.0).to(tl.float32)
            total += (weight * share_x * share_y)[:, None] * loaded
    sums = out + (row * heads + head)[:, None] * depth + channel[None]
    tl.store(sums, total.to(out.dtype.element_ty), mask=used[:, None] & (channel < depth)[None])


@triton.jit
def _backward_kernel(
    grad: tl.tensor,
    value: tl.tensor,
    levels: tl.tensor,
    locations: tl.tensor,
    weights: tl.tensor,
    grad_value: tl.tensor,
    grad_locations: tl.tensor,
    grad_weights: tl.tensor,
    tokens: tl.tensor,
    queries: tl.tensor,
    heads: tl.constexpr,
    depth: tl.constexpr,
    num_levels: tl.constexpr,
    points: tl.constexpr,
    block: tl.constexpr,
    padded_depth: tl.constexpr,
) -> None:
    query = tl.program_id(0) * block + tl.arange(0, block)
    head, image = tl.program_id(1), tl.program_id(2).to(tl.int64)
    channel = tl.arange(0, padded_depth)
    used = query < queries
    row = image * queries + query
    sums = grad + (row * heads + head)[:, None] * depth + channel[None]
    slope = tl.load(sums, mask=used[:, None] & (channel < depth)[None], other=0.0).to(tl.float32)
    columns = heads * num_levels * points
    for sample in range(num_levels * points):  # unrolled, it takes half a minute to compile and all registers
        level = levels + sample // points * 3
        height, width, start = tl.load(level), tl.load(level + 1), tl.load(level + 2)
        first = image * tokens + start
        column = head * num_levels * points + sample
        x, y, weight = _coordinates(locations, weights, row, column, columns, width, height, used)
        slope_x = tl.zeros((block,), dtype=tl.float32)
        slope_y = tl.zeros((block,), dtype=tl.float32)
        sampled = tl.zeros((block,), dtype=tl.float32)
        for corner in tl.static_range(4):
            position, inside, share_x, share_y = _corner(x, y, corner % 2, corner // 2, width, height, used)
            places = ((first + position) * heads + head)[:, None] * depth + channel[None]
            mask = inside[:, None] & (channel < depth)[None]
            loaded = tl.load(value + places, mask=mask, other=0.0).to(tl.float32)
            product = tl.sum(loaded * slope, axis=1)
            sampled += share_x * share_y * product
            slope_x += (share_y if corner % 2 else -share_y) * product
            slope_y += (share_x if corner // 2 else -share_x) * product
            part = (weight * share_x * share_y)[:, None] * slope
            tl.atomic_add(grad_value + places, part, mask=mask, sem='relaxed')
        tl.store(grad_weights + row * columns + column, sampled, mask=used)
        tl.store(grad_locations + row * 2 * columns + column, slope_x * weight * width, mask=used)
        tl.store(grad_locations + (row * 2 + 1) * columns + column, slope_y * weight * height, mask=used)


@lru_cache(maxsize=64)
def _levels(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    """Return height, width and first position of each level, int32 (levels, 3)."""
    rows, start = [], 0
    for height, width in zip(sizes[0::2], sizes[1::2], strict=True):
        rows.append((height, width, start))
        start += height * width
    return torch.tensor(rows, dtype=torch.int32).to(device, non_blocking=True)


def _launch(value: Tensor, sizes: Sequence[int], columns: int, queries: int) -> tuple[tuple[int, ...], dict[str, int]]:
    """Return the grid and the integers that both kernels take."""
    batch, tokens, heads, depth = value.shape
    num_levels = len(sizes) // 2
    return (triton.cdiv(queries, BLOCK), heads, batch), {
        'tokens': tokens,
        'queries': queries,
        'heads': heads,
        'depth': depth,
        'num_levels': num_levels,
        'points': columns // (heads * num_levels),
        'block': BLOCK,
        'padded_depth': triton.next_power_of_2(depth),
    }


def forward(value: Tensor, sizes: Sequence[int], locations: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted sums of sampled values.

    Args:
        value: (B, S, heads, depth), fp32, fp16 or bf16.
        sizes: h, w of the first level, h, w of the second, ...
        locations: (B, Q, 2, K) as (x, y), 0..1 over the level, K = heads * levels * points. A query with NaN gets NaN.
        weights: (B, Q, K).

    Returns:
        (B, Q, heads * depth).
    """
    value, locations, weights = value.contiguous(), locations.contiguous(), weights.contiguous()
    queries = locations.shape[1]
    out = value.new_empty((len(value), queries, value.shape[2] * value.shape[3]))
    grid, numbers = _launch(value, sizes, locations.shape[3], queries)
    levels = _levels(tuple(sizes), value.device)
    with torch.cuda.device_of(value):
        _forward_kernel[grid](value, levels, locations, weights, out, **numbers)
    return out


def backward(
    grad: Tensor, value: Tensor, sizes: Sequence[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of ``forward``'s value, locations and weights, each of its tensor's dtype.

    Args:
        grad: (B, Q, heads * depth).
        value: As for ``forward``, like the others.
        sizes: The same.
        locations: The same.
        weights: The same.
    """
    grad, value, locations, weights = (x.contiguous() for x in (grad, value, locations, weights))
    grad_value = torch.zeros_like(value, dtype=torch.float32)
    grad_locations, grad_weights = torch.empty_like(locations), torch.empty_like(weights)
    grid, numbers = _launch(value, sizes, locations.shape[3], locations.shape[1])
    levels = _levels(tuple(sizes), value.device)
    gradients = grad_value, grad_locations, grad_weights
    with torch.cuda.device_of(value):
        _backward_kernel[grid](grad, value, levels, locations, weights, *gradients, **numbers)
    return grad_value.to(value.dtype), grad_locations, grad_weights
