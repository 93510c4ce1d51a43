"""Masks as COCO's run-length codes: the instances of a 12-megapixel photo in kilobytes instead of gigabytes."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from pycocotools import mask as mask_api
from torch import Tensor

__all__ = ['decode_mask', 'encode_masks', 'encode_tiles']

SMALL = 2**15
"""Pixels of a mask up to which pycocotools is faster: a box costs 50 microseconds, and pixels two nanoseconds each."""


def encode_masks(masks: Tensor | np.ndarray) -> list[dict]:
    """Return the COCO run-length codes of masks (n, H, W), bool, one after the other to stay small in memory.

    Equal to those of ``pycocotools.mask.encode``, which goes through all pixels of an image column by column. Of masks
    that are not small, only the box around each is turned and looked through, in a third of the time (dev/log.md).
    """
    if len(masks) and masks[0].shape[0] * masks[0].shape[1] <= SMALL:
        rows = np.stack([decode_mask(mask) for mask in masks])
        return mask_api.encode(np.asfortranarray(rows.transpose(1, 2, 0)).view(np.uint8))
    return [_encode(decode_mask(mask)) for mask in masks]


def encode_tiles(tiles: Tensor, touched: Tensor, size: tuple[int, int]) -> list[dict]:
    """Return the COCO run-length codes of masks that are given where they have pixels only.

    All on the device of the tiles but the last step; the bounds of all runs leave it together.

    Args:
        tiles: (P, S, S) bool, false beyond the image.
        touched: (n, R, C) bool: the P places of the tiles, by mask, row and column.
        size: Height and width of the image.
    """
    height, width = size
    side, places = tiles.shape[-1], touched.nonzero()
    mask, row, column = places.unbind(1)
    number = touched.flatten().cumsum(0).view(touched.shape) - 1

    def border(step: int) -> Tensor:
        """Return the nearest line (P, S) of the tile below (1) or above (-1)."""
        other = (row + step).clamp(0, touched.shape[1] - 1)
        exists = touched[mask, other, column] & (other != row)
        return tiles[number[mask, other, column], 0 if step > 0 else -1] & exists[:, None]

    # A run is of one column here: it begins below a pixel that is outside and ends above one.
    begins, ends = tiles.clone(), tiles.clone()
    begins[:, 1:] &= ~tiles[:, :-1]
    begins[:, 0] &= ~border(-1)
    ends[:, :-1] &= ~tiles[:, 1:]
    ends[:, -1] &= ~border(1)
    found = []
    for edges in (begins, ends):
        tile, y, x = edges.nonzero().unbind(1)
        # Pixels are counted column by column, and masks one after the other.
        pixel = (mask[tile] * width + column[tile] * side + x) * height + row[tile] * side + y
        found.append(pixel.sort().values)
    first, last = torch.stack(found).cpu().numpy()
    bounds = np.stack([first, last + 1], 1)
    codes = []
    for index, (start, stop) in enumerate(
        pairwise(np.searchsorted(first, np.arange(len(touched) + 1) * height * width))
    ):
        codes.append(_from_bounds(bounds[start:stop].reshape(-1) - index * height * width, size))
    return codes


def _encode(mask: np.ndarray) -> dict:
    """Return the code of one mask (H, W) bool."""
    height, width = mask.shape
    rows = np.flatnonzero(mask.any(axis=1))
    bounds = np.zeros(0, dtype=np.int64)  # where runs begin and end, in pixels counted column by column
    if rows.size:
        columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
        inside = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        # A zero below each column ends its last run, so that beginnings and ends alternate.
        turned = np.zeros((inside.shape[1], inside.shape[0] + 1), dtype=np.int8)
        turned[:, :-1] = inside.T
        edges = np.flatnonzero(np.diff(turned.reshape(-1), prepend=np.int8(0)))
        column, row = np.divmod(edges, turned.shape[1])
        bounds = (column + columns[0]) * height + row + rows[0]
    return _from_bounds(bounds, (height, width))


def _from_bounds(bounds: np.ndarray, size: tuple[int, int]) -> dict:
    """Return the code of a mask whose runs of pixels, each in one column, begin and end at ``bounds`` (2 r,)."""
    # A run that reaches the lower border and one that begins at the upper border of the next column are one.
    joined = bounds[1:-1:2] == bounds[2::2]
    inner = np.ones(len(bounds), bool)
    inner[1:-1] = ~np.repeat(joined, 2)
    counts = np.diff(bounds[inner], prepend=0, append=size[0] * size[1])
    counts = counts if counts[-1] else counts[:-1]  # no empty run at the end, as pycocotools has it
    return mask_api.frPyObjects({'counts': counts.tolist(), 'size': list(size)}, *size)


def decode_mask(mask: Tensor | np.ndarray | Mapping[str, Any]) -> np.ndarray:
    """Return one mask of either form, dense (H, W) or a run-length code, as an array (H, W) bool."""
    if isinstance(mask, Mapping):
        return mask_api.decode(dict(mask)).view(bool)
    return np.asarray(mask.cpu() if isinstance(mask, Tensor) else mask, dtype=bool)
