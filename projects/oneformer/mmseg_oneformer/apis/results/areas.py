"""The connected areas of a map in which answers differ: how large, where, and what each answer says there."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np

__all__ = ['Area', 'Box', 'connected_areas']

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels, right and bottom one past the last."""


class Area(NamedTuple):
    """Pixels that hang together, by edges or corners."""

    size: int
    """Pixels."""
    box: Box
    inside: np.ndarray
    """(bottom - top, right - left) bool: its pixels among those of the box."""

    def usual_class(self, labels: np.ndarray, classes: Sequence[str], missing: str) -> str:
        """Return the name of the class that most of its pixels have.

        Args:
            labels: Class indices (H, W), -1 where there is none.
            classes: Names.
            missing: What -1 is called.
        """
        left, top, right, bottom = self.box
        label = int(np.bincount(labels[top:bottom, left:right][self.inside] + 1).argmax()) - 1
        return missing if label < 0 else classes[label]


def connected_areas(differs: np.ndarray) -> Iterator[Area]:
    """Yield the connected areas of a map (H, W) bool, the largest first."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(differs.astype(np.uint8), connectivity=8)
    for number in sorted(range(1, count), key=lambda k: -stats[k, cv2.CC_STAT_AREA]):
        left, top, width, height, size = stats[number].tolist()
        box = (left, top, left + width, top + height)
        yield Area(size, box, parts[top : top + height, left : left + width] == number)
