"""Resize a photo or a map and keep a window of the result, without computing the rest.

Decisions:
* The photo is resized as PIL's antialiased bilinear filter does it, bit by bit, since published models were trained so.
* Where a photo grows, each pixel is a mix of two, and only the window is computed, by NumPy: across first, then down,
  each time rounded to 8 bits, with weights of 22 binary places. Where it shrinks PIL itself is faster.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

__all__ = ['Window', 'cut', 'resize_image', 'resize_map']

_BITS = 22
"""Binary places of PIL's weights for 8-bit pictures."""
_ROWS = 32
"""Rows at a time: their 32-bit sums stay in the cache."""


class Window(NamedTuple):
    """Part of a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int


def resize_image(image: np.ndarray, size: tuple[int, int], window: Window | None = None) -> np.ndarray:
    """Resize a photo and return what lies in a window, equal to PIL's bilinear resizing and cropping.

    Args:
        image: (H, W, 3) uint8, or (H, W); PIL treats a fourth channel as alpha.
        size: Height and width of the whole resized photo.
        window: Part of it, inside; None: all.

    Returns:
        (window.height, window.width, 3) uint8, or without the 3, contiguous.
    """
    window = window or Window(0, 0, *size)
    if image.shape[:2] == size:
        return cut(image, window)
    if size[0] < image.shape[0] or size[1] < image.shape[1] or image.ndim != 3:
        return _shrunk(image, size, window)
    first, last = _rows_needed(image.shape[0], size[0], window)
    rows, channels = last - first, image.shape[2]
    # Across: the columns as rows of the transposed picture.
    across = cv2.transpose(image[first:last]).reshape(image.shape[1], rows * channels)
    across = _mix_rows(across, 0, image.shape[1], size[1], window.left, window.width)
    down = cv2.transpose(across.reshape(window.width, rows, channels)).reshape(rows, window.width * channels)
    down = _mix_rows(down, first, image.shape[0], size[0], window.top, window.height)
    return down.reshape(window.height, window.width, channels)


def resize_map(segment_map: np.ndarray, size: tuple[int, int], window: Window | None = None) -> np.ndarray:
    """Resize a map by its nearest pixel centres and return what lies in a window.

    Args:
        segment_map: (H, W) integers.
        size: Height and width of the whole resized map.
        window: Part of it, inside; None: all.

    Returns:
        (window.height, window.width) of the same type, contiguous.
    """
    window = window or Window(0, 0, *size)
    if segment_map.shape == size:
        return cut(segment_map, window)
    rows = _nearest(segment_map.shape[0], size[0])[window.top : window.top + window.height]
    columns = _nearest(segment_map.shape[1], size[1])[window.left : window.left + window.width]
    # The columns as rows of the transposed map: rows are copied as blocks, which single pixels are not.
    across = cv2.transpose(cv2.transpose(segment_map[rows[0] : rows[-1] + 1])[columns])
    return across[rows - rows[0]]


def _nearest(old: int, new: int) -> np.ndarray:
    """Return the indices (new,) int32 that OpenCV takes to resize a line of ``old`` pixels to ``new``."""
    numbers = np.arange(old, dtype=np.int32)[:, None]
    return cv2.resize(numbers, (1, new), interpolation=cv2.INTER_NEAREST_EXACT)[:, 0]


def cut(picture: np.ndarray, window: Window) -> np.ndarray:
    """What lies in a window of a picture, contiguous."""
    top, left, height, width = window
    return np.ascontiguousarray(picture[top : top + height, left : left + width])


def _mix_rows(present: np.ndarray, first: int, old: int, new: int, start: int, count: int) -> np.ndarray:
    """Rows ``start`` and the following of a picture that grows from ``old`` to ``new`` rows.

    Args:
        present: (n, m) uint8, rows ``first`` to ``first + n`` of the old picture.
        first: Number of the first of them.
        old: Rows of the whole old picture.
        new: Rows of the whole new picture, at least ``old``.
        start: First new row that is wanted.
        count: How many are wanted.

    Returns:
        (count, m) uint8.
    """
    centers = (np.arange(start, start + count) + 0.5) * (old / new)
    upper = np.maximum((centers - 0.5).astype(np.int64), 0)
    lower = np.minimum(upper + 1, old - 1)
    weights = np.stack([1 - np.abs(upper - centers + 0.5), 1 - np.abs(upper + 1 - centers + 0.5)])
    # Outside the picture there is nothing, and below the first centre only the first row counts.
    weights[1, (upper + 1 >= old) | (centers < 0.5)] = 0
    factors = (weights / weights.sum(axis=0) * 2**_BITS + 0.5).astype(np.int32)[..., None]
    upper, lower = upper - first, lower - first

    mixed = np.empty((count, present.shape[1]), dtype=np.uint8)
    above = np.empty((min(_ROWS, count), present.shape[1]), dtype=np.int32)
    below = np.empty_like(above)
    for begin in range(0, count, _ROWS):
        part = slice(begin, min(begin + _ROWS, count))
        total, other = above[: part.stop - begin], below[: part.stop - begin]
        np.multiply(present[upper[part]], factors[0, part], out=total)
        np.multiply(present[lower[part]], factors[1, part], out=other)
        total += other
        total += 1 << (_BITS - 1)
        np.right_shift(total, _BITS, out=total)
        mixed[part] = total
    return mixed


def _shrunk(image: np.ndarray, size: tuple[int, int], window: Window) -> np.ndarray:
    """``resize_image`` by PIL, for photos that shrink: which direction it takes first depends on its version."""
    resized = Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    if window != (0, 0, *size):
        # Before it becomes an array, which copies twice.
        resized = resized.crop((window.left, window.top, window.left + window.width, window.top + window.height))
    return np.array(resized)


def _rows_needed(old: int, new: int, window: Window) -> tuple[int, int]:
    """First row, and the one behind the last, of the old picture that the window of the larger one depends on."""
    scale = old / new
    first = max(math.floor((window.top + 0.5) * scale - 1), 0)
    return first, min(math.ceil((window.top + window.height - 0.5) * scale + 1), old)
