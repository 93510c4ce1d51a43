"""Where the three predictions about one image contradict each other.

One model gives all three, so an area where they differ is one the model is not sure of: worth a look before the image
is trusted, and worth a label. Users of three separate models have no such check.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np

__all__ = ['Agreement', 'Area', 'Box', 'Disagreement', 'compare', 'connected_areas']

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels, right and bottom one past the last."""


class Disagreement(NamedTuple):
    """One connected area in which predictions differ."""

    area: int
    """Pixels."""
    box: Box
    """Left, top, right, bottom in pixels, right and bottom one past the last."""
    semantic: str
    """The class that most of its pixels have; 'void' where there is none."""
    instance: str
    """The same of the best instance that covers the pixel; 'none' where there is none."""
    panoptic: str


class Agreement(NamedTuple):
    """How far the predictions agree; a share is one of all pixels of the image."""

    semantic_panoptic: np.ndarray
    """(H, W) bool: both name a class, and another one."""
    instance_panoptic: np.ndarray
    """(H, W) bool: a thing of the panoptic prediction without an instance of its class, or the other way round."""
    void: float
    """Share that the panoptic prediction leaves open."""
    regions: tuple[Disagreement, ...]
    """The largest first."""

    @property
    def differs(self) -> np.ndarray:
        """Pixels (H, W) bool where any two differ."""
        return self.semantic_panoptic | self.instance_panoptic

    def __repr__(self) -> str:
        """The shares, and the largest area."""
        parts = [f'semantic and panoptic differ on {self.semantic_panoptic.mean():.1%} of the pixels']
        parts += [f'instances and panoptic on {self.instance_panoptic.mean():.1%}', f'{self.void:.1%} void']
        if self.regions:
            worst = self.regions[0]
            names = f'semantic {worst.semantic}, instance {worst.instance}, panoptic {worst.panoptic}'
            parts.append(f'the largest of {len(self.regions)} areas: {names}, {worst.area} pixels at {worst.box}')
        return f'Agreement({"; ".join(parts)})'


def compare(
    semantic: np.ndarray,
    instances: Iterable[tuple[int, np.ndarray]],
    panoptic: np.ndarray,
    is_thing: np.ndarray,
    classes: Sequence[str],
    smallest: int = 16,
) -> Agreement:
    """Compare the predictions pixel by pixel.

    Args:
        semantic: Class indices (H, W).
        instances: Class index and mask (H, W) bool of each, the best first.
        panoptic: Class indices (H, W), -1 for void.
        is_thing: (H, W) bool, pixels of things in the panoptic prediction.
        classes: Names.
        smallest: Areas of fewer pixels are not listed; they count in the maps.
    """
    covered = np.full(panoptic.shape, -1, np.int32)  # the best instance's class
    explained = ~is_thing  # a thing's pixel needs an instance of its class, be it the best there or not
    for label, mask in instances:
        covered[mask & (covered < 0)] = label
        explained |= mask & (panoptic == label)
    known = panoptic >= 0
    semantic_panoptic = known & (semantic != panoptic)
    instance_panoptic = ~explained | ((covered >= 0) & known & ~(is_thing & explained))
    found = []
    for area in connected_areas(semantic_panoptic | instance_panoptic):
        if area.size < smallest:
            break
        names = (
            area.usual_class(labels, classes, missing)
            for labels, missing in ((semantic, 'void'), (covered, 'none'), (panoptic, 'void'))
        )
        found.append(Disagreement(area.size, area.box, *names))
    return Agreement(semantic_panoptic, instance_panoptic, float(1 - known.mean()), tuple(found))


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
