"""One prediction as a user holds it: instances, and the panoptic map with its segments.

Nothing is computed before it is requested: masks stay run-length codes or tensors until they are read.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ...run_lengths import decode_mask

__all__ = ['Instances', 'Panoptic', 'PanopticSegment', 'tally']


class Instances:
    """The instances of an image, the best first; ``instances[scores >= 0.5]`` are some of them.

    Args:
        labels: (n,) class indices.
        scores: (n,) in 0..1.
        boxes: (n, 4) xyxy in pixels, x2 and y2 one past the last pixel.
        names: of all classes.
        given: n masks, each (H, W) bool or a COCO run-length code.
        size: height and width of the photo.
    """

    def __init__(
        self,
        labels: np.ndarray,
        scores: np.ndarray,
        boxes: np.ndarray,
        names: Sequence[str],
        given: Sequence[Any],
        size: tuple[int, int],
    ) -> None:
        self.labels, self.scores, self.boxes = labels, scores, boxes
        self.class_names, self.given, self.size = tuple(names), given, size

    @property
    def names(self) -> list[str]:
        """Class name of each."""
        return [self.class_names[label] for label in self.labels.tolist()]

    @cached_property
    def masks(self) -> np.ndarray:
        """All masks, (n, H, W) bool; for one at a time, which large photos want, see :meth:`mask`."""
        return np.stack([self.mask(k) for k in range(len(self))]) if len(self) else np.zeros((0, *self.size), bool)

    def mask(self, index: int) -> np.ndarray:
        """Mask (H, W) bool of one instance."""
        return decode_mask(self.given[index])

    def __len__(self) -> int:
        """Their number."""
        return len(self.labels)

    def __getitem__(self, which: Any) -> 'Instances':
        """Some of them, by index, slice, index array or bool array."""
        index = np.atleast_1d(np.arange(len(self))[which])
        given = [self.given[k] for k in index.tolist()]
        return Instances(self.labels[index], self.scores[index], self.boxes[index], self.class_names, given, self.size)

    def __repr__(self) -> str:
        """How many, how many of them are likely, and of which class these are."""
        sure = self[self.scores >= 0.5]
        likely = f'{len(sure)} with a score of 0.5 or more: {tally(sure.names)}' if len(sure) else 'none is likely'
        return f'Instances({len(self)}, {likely})' if len(self) else 'Instances(none)'


class PanopticSegment(NamedTuple):
    """One segment of a panoptic map."""

    id: int
    """Its value in ``Panoptic.ids``."""
    label: int
    name: str
    is_thing: bool
    score: float


class Panoptic(NamedTuple):
    """Every pixel's segment."""

    ids: np.ndarray
    """(H, W) int32; class + 1000 * k, and K for void."""
    segments: tuple[PanopticSegment, ...]

    @property
    def void(self) -> np.ndarray:
        """Pixels (H, W) bool of no segment."""
        return ~np.isin(self.ids, [segment.id for segment in self.segments])

    def mask(self, segment: PanopticSegment | int) -> np.ndarray:
        """Mask (H, W) bool of one segment, or of one id."""
        return self.ids == (segment.id if isinstance(segment, PanopticSegment) else segment)

    @property
    def labels(self) -> np.ndarray:
        """Class index of every pixel, (H, W) int32, -1 for void."""
        labels = np.full(self.ids.shape, -1, np.int32)
        for segment in self.segments:
            labels[self.mask(segment)] = segment.label
        return labels

    def __repr__(self) -> str:
        """How many of which class."""
        return f'Panoptic({len(self.segments)} segments: {tally(segment.name for segment in self.segments)})'


def tally(names: Iterable[str]) -> str:
    """Return "3 person, 1 dog", the most frequent first, at most six names."""
    counts = Counter(names).most_common()
    shown = ', '.join(f'{count} {name}' for name, count in counts[:6])
    return f'{shown}, ...' if len(counts) > 6 else shown or 'none'
