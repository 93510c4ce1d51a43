"""How good an answer about one photo is, where the truth is known."""

from collections.abc import Sequence

import numpy as np

from ...apis import OneFormerResult
from ...evaluation.ground_truth import PanopticTruth
from ...evaluation.report.records import image_record

QUALITIES = {'semantic': 'accuracy', 'panoptic': 'PQ'}
"""Tasks that have a number for a single photo, and its name. AP is one of a whole data set."""


def quality(answer: OneFormerResult, task: str, truth: PanopticTruth, num_classes: int) -> float | None:
    """Return the quality of one answer, 0-100; None where the task has none, or nothing is annotated.

    Args:
        answer: With the task's answer.
        task: 'semantic': the share of the annotated pixels that have their class; 'panoptic': PQ over the segments of
            this photo, whatever their classes.
        truth: Annotation of the photo.
        num_classes: K.
    """
    if task == 'semantic':
        assert answer.semantic is not None
        labels = truth_labels(truth)
        known = labels >= 0
        return 100 * float((answer.semantic == labels)[known].mean()) if known.any() else None
    if task == 'panoptic':
        assert answer.panoptic is not None
        segments = [{'id': one.id, 'category_id': one.label} for one in answer.panoptic.segments]
        return image_record(truth, answer.panoptic.ids, segments, num_classes)['quality']
    return None


def truth_labels(truth: PanopticTruth) -> np.ndarray:
    """Return the annotated class (H, W) of each pixel, -1 for void."""
    return np.array([-1, *(segment['label'] for segment in truth.segments)], np.int64)[truth.index_map]


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of what is known, None where nothing is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
