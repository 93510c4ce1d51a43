"""Mask logits of one image in small squares, so that work is done only where a mask can be.

Decisions:
* Resizing is linear, and its weights are positive with sum 1: a pixel's logit lies between the smallest and the largest
  of the cells that it is made from. :func:`bounds` gives both for each query and tile. They show without any resizing
  what cannot be inside a mask, or cannot win a pixel; leaving that out changes no prediction.
* Both resizes of :func:`~..mask_resize.resize_masks` are one product with a matrix for each axis, of which a tile needs
  a few columns. The results are equal up to rounding, 1e-6 of the largest logit.
* All tiles have one shape. Those at the lower and the right border reach beyond the image, where logits are 0.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ..mask_resize import ImageSize, resize_matrix
from ..precision import no_autocast

__all__ = [
    *('SIDE', 'SLACK', 'Axis', 'Tiling', 'at_once', 'blank', 'bounds', 'cut', 'resize_all', 'resize_tiles', 'runs'),
    *('to_image',),
]

SIDE = 16
"""Pixels of a tile's side. Smaller ones fit outlines better, larger ones cost less for each pixel (dev/log.md)."""

SLACK = 1e-5
"""Bounds are wider by this share of the largest logit, which is more than all rounding."""

WORKING_ELEMENTS, WORKING_ELEMENTS_GPU = 2**20, 2**26
"""The most elements that a temporary may have: what fits a CPU's caches, and what keeps a GPU busy (256 MB)."""


class Axis(NamedTuple):
    """How one axis of the mask logits becomes tiles."""

    cells: Tensor
    """(R, S) int64: the cells that each tile is made from."""
    weights: Tensor
    """(R, SIDE, S): of these cells in each line of pixels; zero beyond the image."""
    inside: Tensor
    """(R, SIDE) bool: which lines belong to the image."""
    first: tuple[int, ...]
    """The first of the cells of each tile, known without waiting for the device."""
    pixels: int
    """Length of the image along this axis."""


class Tiling(NamedTuple):
    """An image cut into R x C tiles."""

    rows: Axis
    columns: Axis

    @property
    def grid(self) -> tuple[int, int]:
        """R and C."""
        return len(self.rows.cells), len(self.columns.cells)

    def place(self, tile: Tensor) -> tuple[Tensor, Tensor]:
        """Return row and column of tiles that are counted row by row."""
        return tile.div(self.grid[1], rounding_mode='floor'), tile % self.grid[1]


def cut(mask_logits: Tensor, size: ImageSize) -> Tiling:
    """Cut the image that ``mask_logits`` (N, h, w) belong to into tiles."""
    lengths = zip(mask_logits.shape[1:], size.padded, size.image, size.original, strict=True)
    return Tiling(*(_cut_axis(*axis, mask_logits.device) for axis in lengths))


def bounds(mask_logits: Tensor, tiling: Tiling) -> tuple[Tensor, Tensor]:
    """Return the smallest and the largest logit that each query can have in each tile, both (N, R, C).

    Args:
        mask_logits: (N, h, w) fp32.
        tiling: Of the image.
    """
    low = high = mask_logits
    for dim, axis in ((1, tiling.rows), (2, tiling.columns)):
        low, high = (
            torch.stack([extreme(values.narrow(dim, first, axis.cells.shape[1]), dim) for first in axis.first], dim)
            for extreme, values in ((torch.amin, low), (torch.amax, high))
        )
    slack = SLACK * torch.maximum(high, -low)
    return low - slack, high + slack


def resize_tiles(mask_logits: Tensor, tiling: Tiling, query: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Return the logits (P, SIDE, SIDE) of P pairs of a query and a tile.

    Args:
        mask_logits: (N, h, w) fp32.
        tiling: Of the image.
        query: (P,) indices.
        row: (P,) of the tiles.
        column: (P,) of the tiles.
    """
    rows, columns = tiling.rows.cells[row], tiling.columns.cells[column]
    cells = mask_logits[query[:, None, None], rows[:, :, None], columns[:, None]]
    with no_autocast(mask_logits):
        return torch.bmm(torch.bmm(tiling.rows.weights[row], cells), tiling.columns.weights[column].mT)


def resize_all(mask_logits: Tensor, tiling: Tiling, row: Tensor, column: Tensor) -> Tensor:
    """Return the logits (P, SIDE, SIDE, N) of all queries in P tiles; arguments as for :func:`resize_tiles`."""
    rows, columns = tiling.rows.cells[row], tiling.columns.cells[column]
    cells = mask_logits.permute(1, 2, 0)[rows[:, :, None], columns[:, None]]  # (P, S, S', N)
    count, _, span, num_queries = cells.shape
    with no_autocast(mask_logits):
        lines = torch.bmm(tiling.rows.weights[row], cells.flatten(2)).view(-1, span, num_queries)
        weights = tiling.columns.weights[column].repeat_interleave(SIDE, 0)
        return torch.bmm(weights, lines).view(count, SIDE, SIDE, num_queries)


def blank(tiling: Tiling, count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the tiles (count, R, C, SIDE, SIDE) of images of zeros, laid out in memory as an image."""
    rows, columns = tiling.grid
    return torch.zeros((count, rows, SIDE, columns, SIDE), dtype=dtype, device=device).transpose(2, 3)


def to_image(tiles: Tensor, tiling: Tiling) -> Tensor:
    """Return the images (count, H, W) of tiles (count, R, C, SIDE, SIDE); no copy of those that ``blank`` made."""
    images = tiles.transpose(2, 3).flatten(3).flatten(1, 2)
    return images[:, : tiling.rows.pixels, : tiling.columns.pixels]


def at_once(elements: int, device: torch.device) -> int:
    """Return how many items of ``elements`` numbers each are processed together on a device."""
    return max(1, (WORKING_ELEMENTS if device.type == 'cpu' else WORKING_ELEMENTS_GPU) // elements)


def runs(counts: list[int], limit: int, each: int) -> Iterator[tuple[slice, int]]:
    """Yield slices of the ascending ``counts`` and the largest count in each.

    The length of the slice times the sum of ``each`` and this count is ``limit`` at most, unless the length is 1.
    """
    start = 0
    for stop in range(1, len(counts) + 1):
        if stop == len(counts) or (stop + 1 - start) * (each + counts[stop]) > limit:
            yield slice(start, stop), counts[stop - 1]
            start = stop


def _cut_axis(cells: int, padded: int, image: int, original: int, device: torch.device) -> Axis:
    """Cut one axis: from ``cells`` of the logits to ``original`` pixels."""
    count = -(-original // SIDE)
    lines = torch.zeros(count * SIDE, cells)
    lines[:original] = resize_matrix(cells, padded, image, original)
    lines = lines.view(count, SIDE, cells)
    used = (lines != 0).any(1).to(torch.uint8)
    start, last = used.argmax(1), cells - 1 - used.flip(1).argmax(1)
    span = int((last - start).max()) + 1
    index = start.clamp(max=cells - span)[:, None] + torch.arange(span)
    weights = lines.gather(2, index[:, None].expand(-1, SIDE, -1))
    inside = (torch.arange(count * SIDE) < original).view(count, SIDE)
    first = tuple(index[:, 0].tolist())
    index, weights, inside = (part.to(device, non_blocking=True) for part in (index, weights, inside))
    return Axis(index, weights, inside, first, original)
