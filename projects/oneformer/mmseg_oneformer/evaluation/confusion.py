"""Confusion between classes: of pixels (semantic prediction) and of segments (panoptic prediction).

Both are matrices (K + 1, K + 1), rows annotated, columns predicted. For pixels, the last row and column are void. For
segments, they are "no segment": missed segments are in the last column, false positives in the last row.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.registry import METRICS

from ..errors import UserError
from ..files import write_atomic
from .base import Metric
from .ground_truth import PanopticTruth, describe, panoptic_truth, to_map
from .matching import match_segments

KINDS = {'semantic': 'void', 'panoptic': 'no segment'}
"""The kinds of prediction, and the name of the last row and column of their matrix."""


def pixel_confusion(truth: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the pixel counts (K + 1, K + 1) of every pair of classes.

    Args:
        truth: (H, W) integer; values that are not a class index are void.
        prediction: (H, W) integer; likewise.
        num_classes: K.

    Raises:
        UserError: The maps differ in size.
    """
    if truth.shape != prediction.shape:
        raise UserError(
            f'the prediction is {prediction.shape} and the annotation {truth.shape} pixels (height, width); '
            'predictions must be rescaled to the original size before they are compared.'
        )
    rows, columns = (
        np.where((classes < 0) | (classes > num_classes), num_classes, classes).astype(np.int64)
        for classes in (truth, prediction)
    )
    size = num_classes + 1
    return np.bincount((rows * size + columns).ravel(), minlength=size * size).reshape(size, size)


def segment_confusion(
    truth: PanopticTruth, pred_map: np.ndarray, pred_segments: Sequence[Mapping[str, Any]], num_classes: int
) -> np.ndarray:
    """Return the segment counts (K + 1, K + 1) of every pair of classes.

    Two segments are a pair if their IoU, with void left out of the union, exceeds 0.5, whatever their classes; a
    segment has at most one partner. The diagonal is the TP of panoptic quality, and a pair off the diagonal is one of
    its FN *and* one of its FP. Crowds are not counted, nor are predictions without a partner that void or the crowd of
    their class excuses.

    Args:
        truth: The annotation.
        pred_map: (H, W) integer; an ``id`` of ``pred_segments`` or ``num_classes`` for void.
        pred_segments: One mapping per segment with ``id`` and ``category_id``.
        num_classes: K.

    Raises:
        UserError: Annotation and prediction do not fit together, or one of them is inconsistent.
    """
    matching = match_segments(*truth, pred_map, pred_segments, num_classes)
    gt_index, pred_index = np.nonzero((matching.pair_iou > 0.5) & ~matching.crowd[:, None])
    missed, wrong = matching.missed.copy(), matching.wrong.copy()
    missed[gt_index], wrong[pred_index] = False, False
    confusion = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    np.add.at(confusion, (matching.gt_label[gt_index], matching.pred_label[pred_index]), 1)
    np.add.at(confusion, (matching.gt_label[missed], num_classes), 1)
    np.add.at(confusion, (num_classes, matching.pred_label[wrong]), 1)
    return confusion


def sample_confusion(sample: Mapping[str, Any], kind: str, num_classes: int) -> np.ndarray:
    """Return the confusion (K + 1, K + 1) of one data sample in its dict form.

    Raises:
        UserError: It has no annotation or no prediction of this kind, or the two do not fit together.
    """
    field = 'pred_sem_seg' if kind == 'semantic' else 'pred_panoptic_seg'
    if field not in sample:
        raise UserError(f'{describe(sample)} has no {kind} prediction; make one, or leave {kind} out of --kind.')
    if kind == 'semantic' and 'gt_sem_seg' not in sample:
        raise UserError(f'{describe(sample)} has no annotation; name its file in test_dataloader.dataset.ann_file.')
    predicted = to_map(sample[field]['sem_seg'])
    try:
        if kind == 'semantic':
            return pixel_confusion(to_map(sample['gt_sem_seg']['sem_seg']), predicted, num_classes)
        return segment_confusion(panoptic_truth(sample), predicted, sample[field]['segments_info'], num_classes)
    except ValueError as error:
        raise UserError(f'{describe(sample)}: {error}') from error


@METRICS.register_module()
class ConfusionMatrix(Metric):
    """Adds up the confusion of all images and writes it as JSON; returns no numbers.

    The file has ``kind``, ``num_images``, ``classes`` (K + 1 names, the last for void or no segment) and ``matrix``:
    whole numbers, one list per annotated class. If there are several processes, the first one writes it.

    Args:
        kind: 'semantic' counts pixels, 'panoptic' segments.
        out: The file.
        **gathering: Arguments of :class:`Metric`.

    Raises:
        UserError: An unknown kind.
    """

    def __init__(self, kind: str, out: str | os.PathLike[str], **gathering: Any) -> None:
        super().__init__(**gathering)
        if kind not in KINDS:
            raise UserError(f'kind is {kind!r}; choose one of {", ".join(KINDS)}.')
        self.kind, self.out = kind, Path(out)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count one batch; keeps the few entries of an image that are not 0."""
        for sample in data_samples:
            confusion = sample_confusion(sample, self.kind, len(self.dataset_meta['classes'])).ravel()
            places = np.flatnonzero(confusion)
            self.results.append((places.astype(np.int32), confusion[places]))

    def compute_metrics(self, results: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
        """Write the file; there is no number to return."""
        names = [*self.dataset_meta['classes'], KINDS[self.kind]]
        total = np.zeros(len(names) ** 2, np.int64)
        for places, counts in results:
            total[places] += counts
        matrix = total.reshape(len(names), len(names)).tolist()
        content = {'kind': self.kind, 'num_images': len(results), 'classes': names, 'matrix': matrix}
        write_atomic(self.out, json.dumps(content) + '\n')
        return {}


def most_confused(matrix: np.ndarray, names: Sequence[str], number: int) -> list[tuple[str, str, int, float]]:
    """Return the ``number`` largest entries off the diagonal: annotated, predicted, count, share of the row.

    Args:
        matrix: (n, n) counts.
        names: n names.
        number: How many to return; entries of 0 are left out.
    """
    beside = matrix * (1 - np.eye(len(matrix), dtype=matrix.dtype))
    largest = [index for index in np.argsort(-beside, axis=None, kind='stable')[:number] if beside.flat[index]]
    pairs = [divmod(int(index), len(matrix)) for index in largest]
    return [(names[i], names[j], int(matrix[i, j]), float(matrix[i, j] / matrix[i].sum())) for i, j in pairs]


def keep_classes(matrix: np.ndarray, names: Sequence[str], chosen: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Return the matrix of the chosen classes and the last row and column; other classes are merged into "others".

    Raises:
        UserError: A class is unknown.
    """
    unknown = [name for name in chosen if name not in names[:-1]]
    if unknown:
        raise UserError(f'there is no class {unknown[0]!r}; the classes are {", ".join(names[:-1])}.')
    places = np.array(
        [chosen.index(name) if name in chosen else len(chosen) for name in names[:-1]] + [len(chosen) + 1]
    )
    kept = np.zeros((len(chosen) + 2, len(chosen) + 2), matrix.dtype)
    np.add.at(kept, (places[:, None], places[None]), matrix)
    return kept, [*chosen, 'others', names[-1]]
