"""How two models' predictions for one photo differ, and how good each is if the ground truth is known.

Decisions:
* Two panoptic or instance predictions agree on a pixel if both have *the same object* there, not only the same class:
  the objects of two predictions are paired by class and an IoU above 0.5, as for panoptic quality.
* Outlines never agree exactly, so boxes are drawn around what is left after thin strips are removed. The shares count
  every pixel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from mmengine.structures import BaseDataElement

from ...apis import OneFormerResult, Panoptic
from ...apis.results.agreement import Box, connected_areas
from ...apis.results.regions import regions
from ...evaluation.ground_truth import PanopticTruth, panoptic_truth
from ...evaluation.report.records import image_record

Array = np.ndarray
Mask = tuple[int, Array]
"""Class index and mask (H, W) bool of an instance."""

THINNEST, SMALLEST = 0.02, 0.002
"""Minimum thickness of a region with a box, as a share of the short side (at least 5 pixels), and of its area."""
MOST_REGIONS = 8
"""Maximum number of regions in a difference."""
QUALITIES = {'semantic': 'accuracy', 'panoptic': 'PQ'}
"""Tasks with a score for a single photo, and its name. AP is defined only for a whole data set."""


class DifferingRegion(NamedTuple):
    """A connected area in which two predictions differ."""

    box: Box
    """Left, top, right, bottom in pixels, right and bottom one past the last."""
    share: float
    """Of the photo's pixels, in 0..1."""
    first: str
    """The class that most of its pixels have in the first prediction; 'nothing' if there is none."""
    second: str


class Difference(NamedTuple):
    """How two predictions differ."""

    mask: Array
    """(H, W) bool."""
    regions: tuple[DifferingRegion, ...]
    """The largest first."""

    @property
    def share(self) -> float:
        """Share of the pixels that differ, in 0..1."""
        return float(self.mask.mean())


@dataclass(frozen=True)
class Compared:
    """Two models' predictions of one task for one photo."""

    task: str
    share: float
    """Share of the pixels that differ, in 0..1."""
    regions: tuple[DifferingRegion, ...]
    qualities: tuple[float | None, float | None] | None
    """Of both models, 0-100; None without ground truth."""


def compare_photo(
    predictions: Sequence[OneFormerResult],
    tasks: Sequence[str],
    truth: BaseDataElement | None = None,
    score_thr: float = 0.5,
) -> list[Compared]:
    """Compare two models' predictions for one photo.

    Args:
        predictions: Of the two models.
        tasks: Those to compare; both models have predictions of them.
        truth: A data sample with a panoptic annotation.
        score_thr: Instances below count as not found.

    Raises:
        UserError: The sample has no panoptic annotation.
    """
    first, second = predictions
    known = None if truth is None else panoptic_truth(truth.to_dict())
    compared = []
    for task in tasks:
        difference = differences(first, second, task, score_thr)
        qualities = None if known is None else (quality(first, task, known), quality(second, task, known))
        compared.append(Compared(task, difference.share, difference.regions, qualities))
    return compared


def differences(first: OneFormerResult, second: OneFormerResult, task: str, score_thr: float = 0.5) -> Difference:
    """Compare two models' predictions of one task for one photo.

    Args:
        first: The first model's predictions.
        second: The second's, of the same classes.
        task: 'semantic', 'instance' or 'panoptic'; both have a prediction of it.
        score_thr: Instances below count as not found.
    """
    if task == 'semantic':
        assert first.semantic is not None and second.semantic is not None
        labels = first.semantic, second.semantic
        mask = labels[0] != labels[1]
    elif task == 'panoptic':
        assert first.panoptic is not None and second.panoptic is not None
        labels = first.panoptic.labels, second.panoptic.labels
        mask = panoptic_differs(first.panoptic, second.panoptic)
    else:
        masks = [
            [(found.label, found.mask) for found in regions(one.sample, 'instance', one.dataset_meta, score_thr)]
            for one in (first, second)
        ]
        labels = best_labels(masks[0], first.size), best_labels(masks[1], first.size)
        mask = instances_differ(masks[0], masks[1], first.size)
    return Difference(mask, tuple(find_regions(mask, labels, first.classes)[:MOST_REGIONS]))


def panoptic_differs(first: Panoptic, second: Panoptic) -> Array:
    """Return the pixels (H, W) bool that are in no pair of segments, and not void in both."""
    (one, one_labels), (other, other_labels) = _numbered(first), _numbered(second)
    count = len(one_labels), len(other_labels)
    joint = np.bincount((one * count[1] + other).ravel(), minlength=count[0] * count[1])
    shared = joint.reshape(count)
    union = shared.sum(1)[:, None] + shared.sum(0) - shared
    same = (one_labels[:, None] == other_labels) & (2 * shared > union)
    same[0, 0] = True
    return ~same[one, other]


def _numbered(prediction: Panoptic) -> tuple[Array, Array]:
    """Return a map (H, W) of segments numbered from 1, 0 for void, and their classes (n + 1,), the first -1."""
    numbers = np.zeros(prediction.ids.shape, np.int64)
    for number, segment in enumerate(prediction.segments, start=1):
        numbers[prediction.mask(segment)] = number
    return numbers, np.array([-1, *(segment.label for segment in prediction.segments)])


def instances_differ(first: Sequence[Mask], second: Sequence[Mask], size: tuple[int, int]) -> Array:
    """Return the pixels (H, W) bool that an instance or its partner has, but not both.

    Instances may overlap, so that there may be several candidates: the best instance of the first side chooses first.
    """
    differs, free = np.zeros(size, bool), list(second)
    for label, mask in first:
        ious = [_iou(mask, other) if label == name else 0.0 for name, other in free]
        if ious and max(ious) > 0.5:
            differs |= mask ^ free.pop(int(np.argmax(ious)))[1]
        else:
            differs |= mask
    for _, mask in free:
        differs |= mask
    return differs


def best_labels(masks: Sequence[Mask], size: tuple[int, int]) -> Array:
    """Return the class (H, W) of the first instance that covers a pixel, -1 if none does."""
    labels = np.full(size, -1, np.int32)
    for label, mask in reversed(masks):
        labels[mask] = label
    return labels


def find_regions(mask: Array, labels: tuple[Array, Array], classes: Sequence[str]) -> list[DifferingRegion]:
    """Return the regions of a mask (H, W) bool that are large enough for a box, the largest first.

    Args:
        mask: Where two predictions differ.
        labels: Class indices (H, W) of both, -1 where there is none.
        classes: Names.
    """
    side = max(5, round(THINNEST * min(mask.shape)))
    kernel = np.ones((side, side), np.uint8)
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, kernel)
    found = []
    for area in connected_areas(opened.astype(bool)):
        share = area.size / mask.size
        if share < SMALLEST:
            break
        names = (area.usual_class(one, classes, missing='nothing') for one in labels)
        found.append(DifferingRegion(area.box, share, *names))
    return found


def _iou(one: Array, other: Array) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


def quality(prediction: OneFormerResult, task: str, truth: PanopticTruth) -> float | None:
    """Return the quality of one prediction, 0-100; None if the task has none, or nothing is annotated.

    Args:
        prediction: Includes that of the task.
        task: 'semantic': the share of the annotated pixels with the right class; 'panoptic': PQ over the segments of
            this photo, whatever their classes.
        truth: Annotation of the photo.
    """
    if task == 'semantic':
        assert prediction.semantic is not None
        labels = truth_labels(truth)
        known = labels >= 0
        return 100 * float((prediction.semantic == labels)[known].mean()) if known.any() else None
    if task == 'panoptic':
        assert prediction.panoptic is not None
        segments = [{'id': one.id, 'category_id': one.label} for one in prediction.panoptic.segments]
        return image_record(truth, prediction.panoptic.ids, segments, len(prediction.classes))['quality']
    return None


def truth_labels(truth: PanopticTruth) -> np.ndarray:
    """Return the annotated class (H, W) of each pixel, -1 for void."""
    return np.array([-1, *(segment['label'] for segment in truth.segments)], np.int64)[truth.index_map]


def describe_quality(task: str, value: float | None) -> str:
    """Return a quality with its name, or a dash."""
    return '-' if value is None else f'{QUALITIES[task]} {value:.1f}'
