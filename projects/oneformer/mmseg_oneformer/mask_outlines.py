"""Outlines of masks along the edges of their pixels: what they enclose is the mask, to the pixel."""

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
    """Trace the parts of a mask (H, W) bool, the largest outline first; parts that touch at a corner are one.

    OpenCV's contours run through the *centres* of border pixels, so a line of pixels encloses nothing. Traced on a map
    of twice the size they lie a quarter of a pixel inside of the pixels' edges, all around, and rounding does the rest.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return []
    top, left = int(rows[0]), int(columns[0])
    inside = mask[top : rows[-1] + 1, left : columns[-1] + 1].astype(np.uint8)
    doubled = inside.repeat(2, axis=0).repeat(2, axis=1)
    # Without compression: diagonal steps, which cut a corner, must be seen to be rounded to it.
    contours, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    corners = [_corners(contour[:, 0]) + np.array((left, top)) for contour in contours]
    holes: dict[int, list[np.ndarray]] = {}
    for corner, (_, _, _, parent) in zip(corners, hierarchy[0].tolist(), strict=True):
        holes.setdefault(parent, []).append(corner)
    exteriors = [index for index, (_, _, _, parent) in enumerate(hierarchy[0].tolist()) if parent < 0]
    outlines = [Outline(corners[index], tuple(holes.get(index, ()))) for index in exteriors]
    return sorted(outlines, key=lambda outline: -cv2.contourArea(outline.exterior.astype(np.float32)))


def _corners(path: np.ndarray) -> np.ndarray:
    """Corners (n, 2) of a path of pixels (m, 2) of the doubled map, those where it turns only."""
    points = np.rint((path + 0.5) / 2).astype(np.int64)
    points = points[(points != np.roll(points, 1, axis=0)).any(axis=1)]
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    return points[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]
