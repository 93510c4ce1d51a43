"""Any of the three predictions as a list of named regions: what exports are made of."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from mmengine.structures import BaseDataElement

from ...errors import UserError
from ...run_lengths import decode_mask
from ...tasks import PREDICTION_FIELDS, check_task

__all__ = ['Region', 'check_predicted', 'present_classes', 'regions']


class Region(NamedTuple):
    """A class of the semantic prediction, an instance, or a panoptic segment."""

    mask: np.ndarray
    """(H, W) bool."""
    label: int
    """Class index."""
    name: str
    is_thing: bool
    score: float | None
    """In 0..1; the semantic prediction has none."""


def regions(
    sample: BaseDataElement, task: str, dataset_meta: Mapping[str, Any], score_thr: float | None = None
) -> Iterator[Region]:
    """Yield the regions of one prediction, without the empty ones.

    Args:
        sample: Has the task's prediction.
        task: 'semantic', 'instance' or 'panoptic'.
        dataset_meta: ``classes`` and ``thing_ids``.
        score_thr: Instances and panoptic segments that score less are left out. None: instances below 0.5, and no
            segments, since their queries have passed ``object_mask_thr``.

    Raises:
        UserError: If there is no such task, or it was not predicted.
    """
    check_predicted(sample, task)
    prediction = sample.get(PREDICTION_FIELDS[task])
    classes, things = dataset_meta['classes'], set(dataset_meta.get('thing_ids', ()))
    if score_thr is None:
        score_thr = 0.5 if task == 'instance' else 0.0
    if task == 'instance':
        for label, score, mask in zip(prediction.labels.tolist(), prediction.scores.tolist(), prediction.masks):
            if score >= score_thr and (dense := decode_mask(mask)).any():
                yield Region(dense, label, classes[label], True, score)
        return
    labels = prediction.sem_seg[0].numpy()
    if task == 'semantic':
        for label in present_classes(labels):
            yield Region(labels == label, label, classes[label], label in things, None)
    else:
        for info in prediction.segments_info:
            label, score = info['category_id'], float(info['score'])
            if score >= score_thr:
                yield Region(labels == info['id'], label, classes[label], bool(info['isthing']), score)


def check_predicted(sample: BaseDataElement, task: str) -> None:
    """Raise a ValueError if there is no such task, or a data sample has no prediction of it."""
    if PREDICTION_FIELDS[check_task(task)] not in sample:
        raise UserError(f'The {task} prediction was not requested; add {task!r} to the tasks of the call.')


def present_classes(labels: np.ndarray) -> list[int]:
    """Return the class indices that a map (H, W) has, sorted; counting takes a tenth of the time of ``np.unique``."""
    return np.flatnonzero(np.bincount(labels.reshape(-1))).tolist()
