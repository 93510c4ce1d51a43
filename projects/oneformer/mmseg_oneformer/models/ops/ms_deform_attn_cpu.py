"""Multi-scale deformable attention on a CPU, forward and backward: sums of weighted table rows.

Decisions:
* The values of an image are a table of S * heads rows. A head of a query gets a weighted sum of levels * points * 4 of
  its rows (four corners per point, bilinear share times attention), which PyTorch's ``embedding_bag`` computes with a
  vectorised kernel: several times faster than one ``grid_sample`` per level, and without any change of layout.
* A point beyond the outermost pixel centres gets the value at the nearest point between them, times a factor that falls
  to 0 one pixel further out. That *is* bilinear sampling of a map that continues with zeros; all four corners then
  always lie in the map, and nothing has to be masked.
* All samples of a query are one row of K = heads * levels * points numbers, x and y apart, so that every element-wise
  operator has a long inner loop. Chunks of queries stay in the cache.
* The gradient of the values is the same kind of sum in the other direction: samples are sorted by their upper left
  corner, and the four corners are four bags with the same members, added up with a shift. The gradients of locations
  and weights need the product of each row with the gradient of its sum: a matrix product at given places
  (``sampled_addmm``). Only the arguments are kept for the backward pass.
"""

import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 2**16
"""Samples processed at a time per thread: 4 MB of indices, weights and what they are made from."""

BACKWARD_CHUNK = 2**19
"""Samples processed at a time in the backward pass, where each chunk copies the whole table."""

MAX_TOKENS = 2**24
"""Positions are counted in floating point, which is exact below this number."""

# Issued once per process by ``sampled_addmm``; it concerns users of sparse tensors, not ours.
warnings.filterwarnings('ignore', message='Sparse CSR tensor support is in beta state')


class _Geometry(NamedTuple):
    """What depends only on the shapes; K = heads * levels * points samples of a query."""

    size: Tensor  # (2, K) width and height
    last: Tensor  # (2, K) largest coordinate with a full pixel to its right, or 0
    start: Tensor  # (K) first position of the level
    head: Tensor  # int32 (K)
    corners: Tensor  # int32 (4, K) rows from the upper left corner to each corner


@lru_cache(maxsize=64)
def _geometry(sizes: tuple[int, ...], heads: int, points: int, dtype: torch.dtype) -> _Geometry:
    """Return the geometry of levels with ``sizes`` h, w, h, w, ...

    Cached tensors may have been made in inference mode: only code that autograd does not record may use them.
    """
    heights, widths = torch.tensor(sizes[0::2]), torch.tensor(sizes[1::2])
    areas = heights * widths
    right, down = (widths > 1).long(), torch.where(heights > 1, widths, 0)

    def by_sample(levels: Tensor, to: torch.dtype) -> Tensor:
        return levels.to(to).repeat_interleave(points, dim=-1).repeat(*[1] * (levels.dim() - 1), heads)

    size = by_sample(torch.stack((widths, heights)), dtype)
    return _Geometry(
        size,
        torch.nextafter(size - 1, size.new_zeros(())).clamp_(min=0),
        by_sample(areas.cumsum(0) - areas, dtype),
        torch.arange(heads, dtype=torch.int32).repeat_interleave(points * len(areas)),
        by_sample(heads * torch.stack((0 * right, right, down, right + down)), torch.int32),
    )


class _Samples(NamedTuple):
    """Where the samples of N queries lie."""

    first: Tensor  # int32 (N, K) table row of the upper left corner
    share: Tensor  # (N, 2, K) of the right and of the lower corners, 0..1
    beyond: Tensor  # (N, 2, K) pixels left (< 0) or right of the outermost centres, 0 between them
    fade: Tensor  # (N, 2, K) 1 between the outermost centres, 0 from one pixel further out


def _samples(locations: Tensor, geometry: _Geometry, heads: int) -> _Samples:
    """Find samples at ``locations`` (N, 2, K) as (x, y), 0..1 over the level."""
    beyond = torch.addcmul(locations.new_tensor(-0.5), locations, geometry.size)
    share = beyond.clamp(min=0).minimum(geometry.last)
    beyond -= share
    corner = share.floor()
    share -= corner
    token = torch.addcmul(geometry.start, corner[:, 1], geometry.size[0]).add_(corner[:, 0])
    first = token.nan_to_num_().int()  # NaN would become a row outside the table
    first.mul_(heads).add_(geometry.head)
    return _Samples(first, share, beyond, beyond.abs().neg_().add_(1).clamp_(min=0))


def _corner_weights(samples: _Samples, weights: Tensor, out: Sequence[Tensor]) -> None:
    """Write the weights (N, K) of the four corners to ``out``, each with K numbers per query in any shape."""
    shape = out[0].shape
    lower = weights * samples.fade[:, 0]
    lower *= samples.fade[:, 1]
    upper = lower.clone()
    lower *= samples.share[:, 1]
    upper -= lower
    right = samples.share[:, 0].view(shape)
    for row, (left_out, right_out) in zip((upper, lower), (out[:2], out[2:]), strict=True):
        torch.mul(row.view(shape), right, out=right_out)
        torch.sub(row.view(shape), right_out, out=left_out)


def _corner_rows(first: Tensor, geometry: _Geometry, heads: int) -> Tensor:
    """Return the table rows of the four corners, int32 (N * heads, 4 * levels * points)."""
    rows = first.new_empty((len(first), heads, 4, first.shape[1] // heads))
    for corner, step in enumerate(geometry.corners):
        torch.add(first.view_as(rows[:, :, 0]), step.view(heads, -1), out=rows[:, :, corner])
    return rows.view(len(first) * heads, -1)


def forward(value: Tensor, sizes: Sequence[int], locations: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted sums of sampled values.

    Args:
        value: (B, S, heads, depth), fp32 or fp64.
        sizes: h, w of the first level, h, w of the second, ...
        locations: (B, Q, 2, K) as (x, y), 0..1 over the level, K = heads * levels * points. A query with NaN gets NaN.
        weights: (B, Q, K).

    Returns:
        (B, Q, heads * depth).
    """
    batch, _, heads, depth = value.shape
    queries, _, per_query = locations.shape[1:]
    geometry = _geometry(tuple(sizes), heads, per_query * 2 // (heads * len(sizes)), locations.dtype)
    out = value.new_empty((batch, queries, heads * depth))
    step = max(1, CHUNK * torch.get_num_threads() // per_query)
    for image in range(batch):
        table = value[image].detach().reshape(-1, depth)  # Otherwise embedding_bag prepares its own backward pass.
        chunks = zip(out[image].split(step), locations[image].split(step), weights[image].split(step), strict=True)
        for sums, xy, attention in chunks:
            samples = _samples(xy, geometry, heads)
            rows = _corner_rows(samples.first, geometry, heads)
            shares = attention.new_empty((len(xy), heads, 4, per_query // heads))
            _corner_weights(samples, attention, shares.unbind(2))
            bags = F.embedding_bag(rows, table, per_sample_weights=shares.view_as(rows), mode='sum')
            sums.copy_(bags.view_as(sums))
    return out


def backward(
    grad: Tensor, value: Tensor, sizes: Sequence[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of ``forward``'s value, locations and weights, each contiguous.

    Args:
        grad: (B, Q, heads * depth).
        value: As for ``forward``, like the others.
        sizes: The same.
        locations: The same.
        weights: The same.
    """
    batch, _, heads, depth = value.shape
    queries, _, per_query = locations.shape[1:]
    geometry = _geometry(tuple(sizes), heads, per_query * 2 // (heads * len(sizes)), locations.dtype)
    grad_value, grad_locations, grad_weights = (
        torch.empty_like(x, memory_format=torch.contiguous_format) for x in (value, locations, weights)
    )
    step = max(1, BACKWARD_CHUNK // per_query)
    for image in range(batch):
        table, grads = value[image].reshape(-1, depth), grad[image].reshape(-1, depth)
        first = locations.new_empty((queries, per_query), dtype=torch.int32)
        shares = weights.new_empty((4, queries, per_query))
        for begin in range(0, queries, step):
            part = slice(begin, begin + step)
            samples = _samples(locations[image, part], geometry, heads)
            first[part] = samples.first
            _corner_weights(samples, weights[image, part], shares[:, part].unbind(0))
            rows = _corner_rows(samples.first, geometry, heads)
            products = _products(rows, grads[begin * heads : (begin + step) * heads], table)
            _sample_gradients(
                products.view(-1, heads, 4, per_query // heads),
                samples,
                weights[image, part],
                geometry,
                grad_locations[image, part],
                grad_weights[image, part],
            )
        _value_gradient(first, shares, grads, geometry, sizes, grad_value[image])
    return grad_value, grad_locations, grad_weights


def _products(rows: Tensor, grads: Tensor, table: Tensor) -> Tensor:
    """Return the inner product of each row of ``grads`` (R, depth) with its ``rows`` (R, n) of the table, (R, n)."""
    count = rows.shape[1]
    if len(table) < count:  # A sparse matrix must not hold more numbers than a dense one, and rows may repeat.
        table = F.pad(table, (0, 0, 0, count - len(table)))
    ends = torch.arange(0, rows.numel() + 1, count, dtype=rows.dtype)
    values = table.new_zeros(rows.numel())
    size = (len(rows), len(table))
    places = torch.sparse_csr_tensor(ends, rows.flatten(), values, size, check_invariants=False)
    torch.sparse.sampled_addmm(places, grads, table.T, beta=0.0, out=places)
    return places.values().view_as(rows)


def _sample_gradients(
    products: Tensor,
    samples: _Samples,
    weights: Tensor,
    geometry: _Geometry,
    grad_locations: Tensor,
    grad_weights: Tensor,
) -> None:
    """Write the gradients of locations (N, 2, K) and weights (N, K).

    ``products`` (N, heads, 4, K / heads) are the gradients of the corners' weights.
    At a pixel's centre the slope is that to its right, as in ``grid_sample``.
    """
    shape = products[:, :, 0].shape
    upper_left, upper_right, lower_left, lower_right = products.unbind(2)
    right, down = (share.view(shape) for share in samples.share.unbind(1))
    upper = torch.lerp(upper_left, upper_right, right)
    lower = torch.lerp(lower_left, lower_right, right)
    sampled = torch.lerp(upper, lower, down).view_as(weights)
    torch.lerp(upper_right - upper_left, lower_right - lower_left, down, out=grad_locations[:, 0].view(shape))
    torch.sub(lower, upper, out=grad_locations[:, 1].view(shape))
    outwards = torch.where(samples.beyond < 0, sampled[:, None], -sampled[:, None]) * (samples.fade > 0)
    between_centres = (samples.beyond == 0) & (geometry.size > 1)
    grad_locations.copy_(torch.where(between_centres, grad_locations, outwards))
    grad_locations.mul_(samples.fade.flip(1)).mul_(weights[:, None]).mul_(geometry.size)
    torch.mul(sampled, samples.fade[:, 0], out=grad_weights).mul_(samples.fade[:, 1])


def _value_gradient(
    first: Tensor, shares: Tensor, grads: Tensor, geometry: _Geometry, sizes: Sequence[int], out: Tensor
) -> None:
    """Write the gradient of an image's values (S, heads, depth), from upper left rows (Q, K) and shares (4, Q, K)."""
    total = out.view(-1, out.shape[2]).zero_()
    heads = out.shape[1]
    sorted_rows, order = first.flatten().sort()
    counts = torch.bincount(sorted_rows, minlength=len(total))
    starts = (counts.cumsum(0) - counts).int()
    sources = order.div(first.shape[1] // heads, rounding_mode='trunc').int()  # rows of ``grads``
    level_steps = geometry.corners[:, : first.shape[1] // heads].unflatten(1, (len(sizes) // 2, -1))[:, :, 0]
    for share, steps in zip(shares, level_steps.tolist(), strict=True):
        sums = F.embedding_bag(
            sources, grads, starts, per_sample_weights=share.flatten().index_select(0, order), mode='sum'
        )
        begin = 0
        for height, width, step in zip(sizes[0::2], sizes[1::2], steps, strict=True):
            end = begin + height * width * heads
            total[begin + step : end] += sums[begin : end - step]
            begin = end
