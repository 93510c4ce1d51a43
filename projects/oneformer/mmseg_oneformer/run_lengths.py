"""Masks as COCO's run-length codes: the instances of a 12-megapixel photo in kilobytes instead of gigabytes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from pycocotools import mask as mask_api
from torch import Tensor

__all__ = ['decode_mask', 'encode_masks']


def encode_masks(masks: Tensor | np.ndarray) -> list[dict]:
    """Return the COCO run-length codes of masks (n, H, W), bool, one after the other to stay small in memory.

    Equal to those of ``pycocotools.mask.encode``, which goes through all pixels of an image column by column; here only
    the box around a mask is turned and looked through, in a third of the time (docs/log.md).
    """
    return [_encode(decode_mask(mask)) for mask in masks]


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
        # A run that reaches the lower border and one that begins at the upper border of the next column are one.
        joined = bounds[1:-1:2] == bounds[2::2]
        bounds = bounds[~np.concatenate(([False], np.repeat(joined, 2), [False]))]
    counts = np.diff(bounds, prepend=0, append=height * width)
    counts = counts if counts[-1] else counts[:-1]  # no empty run at the end, as pycocotools has it
    return mask_api.frPyObjects({'counts': counts.tolist(), 'size': [height, width]}, height, width)


def decode_mask(mask: Tensor | np.ndarray | Mapping[str, Any]) -> np.ndarray:
    """Return one mask of either form, dense (H, W) or a run-length code, as an array (H, W) bool."""
    if isinstance(mask, Mapping):
        return mask_api.decode(dict(mask)).view(bool)
    return np.asarray(mask.cpu() if isinstance(mask, Tensor) else mask, dtype=bool)
