"""Outlines of masks along the edges of their pixels: what they enclose is the mask, to the pixel."""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

__all__ = ['Outline', 'mask_outlines']


class Outline(NamedTuple):
    """One connected part of a mask; corners are (x, y) in whole pixels, (0, 0) is the photo's upper left corner."""

    exterior: np.ndarray
    """(n, 2) int, n >= 4, not closed: the last corner is joined with the first."""
    holes: tuple[np.ndarray, ...]


def mask_outlines(mask: np.ndarray) -> list[Outline]:
    """Trace the parts of a mask (H, W) bool, the largest outline first.

    Parts that touch at a corner only are two. So no ring passes a point twice, rings touch in single points, and every
    part is a valid polygon of the OGC's simple features, which GIS tools insist on.
    """
    outlines = [_outline(part, corner) for part, corner in _parts(mask)]
    return sorted(outlines, key=lambda outline: -cv2.contourArea(outline.exterior.astype(np.float32)))


def _parts(mask: np.ndarray) -> Iterator[tuple[np.ndarray, tuple[int, int]]]:
    """Yield the parts of a mask, pixels joined by their edges, each in its box with the box's left upper corner."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return
    x, y = int(columns[0]), int(rows[0])
    inside = mask[y : rows[-1] + 1, x : columns[-1] + 1].astype(np.uint8)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(inside, connectivity=4)
    for number, (left, top, width, height, _) in enumerate(stats[1:count].tolist(), start=1):
        yield parts[top : top + height, left : left + width] == number, (x + left, y + top)


def _outline(part: np.ndarray, corner: tuple[int, int]) -> Outline:
    """Trace one part.

    OpenCV's contours run through the *centres* of border pixels, so a line of pixels encloses nothing. Traced on a map
    of twice the size they lie a quarter of a pixel inside of the pixels' edges, all around, and rounding does the rest.
    """
    doubled = part.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    # Without compression: diagonal steps, which cut a corner, must be seen to be rounded to it.
    contours, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    rings = [_corners(contour[:, 0]) + np.array(corner) for contour in contours]
    is_hole = hierarchy[0][:, 3] >= 0
    (exterior,) = (ring for ring, hole in zip(rings, is_hole, strict=True) if not hole)
    return Outline(exterior, tuple(ring for ring, hole in zip(rings, is_hole, strict=True) if hole))


def _corners(path: np.ndarray) -> np.ndarray:
    """Corners (n, 2) of a path of pixels (m, 2) of the doubled map, those where it turns only."""
    points = np.rint((path + 0.5) / 2).astype(np.int64)
    points = points[(points != np.roll(points, 1, axis=0)).any(axis=1)]
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    return points[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]
