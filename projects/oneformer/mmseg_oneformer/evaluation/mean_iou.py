"""Mean IoU as the reference's evaluators average it, counted exactly and several times as fast as mmseg does.

``mmseg.IoUMetric`` takes five passes and three histograms over the pixels and adds areas up as float32; here one joint
``bincount`` of both maps gives the same numbers as integers (measured in dev/log.md). It also reads our samples.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from mmengine.logging import print_log
from mmengine.registry import METRICS

from ..datasets.transforms.packing import ignore_index
from ..errors import UserError
from ..text_table import format_table
from .base import Metric
from .ground_truth import describe, to_map

Average = Literal['annotated', 'all']
"""The classes that mIoU is averaged over."""


class ClassAreas(NamedTuple):
    """Pixel counts per class, each an array (K,) int64; void pixels of the annotation are in none of them.

    Attributes:
        shared: In both the annotation and the prediction.
        truth: In the annotation.
        predicted: In the prediction.
    """

    shared: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray


def class_areas(truth: np.ndarray, prediction: np.ndarray, num_classes: int, void: int) -> ClassAreas:
    """Count the pixels of one image.

    Args:
        truth: (H, W) integer class indices; ``void`` is left out.
        prediction: (H, W) integer class indices; values that are not a class count as missed, but for no class as
            wrong.
        num_classes: K.
        void: A number above the class indices.

    Raises:
        UserError: The maps differ in size, the annotation holds a number that is neither a class nor void, or there
            are negative ones.
    """
    if truth.shape != prediction.shape:
        raise UserError(
            f'the prediction is {prediction.shape} and the annotation {truth.shape} pixels (height, width); '
            'predictions must be rescaled to the original size before they are measured.'
        )
    if min(truth.min(initial=0), prediction.min(initial=0)) < 0:
        raise UserError('a class map holds negative numbers; write void as a number past the classes.')
    strange, columns = num_classes + 1, num_classes + 1
    row = np.full(max(void, num_classes) + 2, strange, dtype=np.int32)
    row[:num_classes] = range(num_classes)
    row[void] = num_classes
    column = np.append(np.arange(columns, dtype=np.int32), np.int32(num_classes))
    # Values beyond the table are clipped to its last entry.
    joint = row.take(truth, mode='clip') * np.int32(columns) + column.take(prediction, mode='clip')
    counts = np.bincount(joint.ravel(), minlength=(strange + 1) * columns).reshape(strange + 1, columns)
    if counts[strange].any():
        value = int(truth[~np.isin(truth, [*range(num_classes), void])][0])
        raise UserError(
            f'the annotation has pixels of class {value}, but there are only classes 0 to {num_classes - 1} and void '
            f'({void}); check LoadSemanticMap and ignore_index.'
        )
    counts = counts[:num_classes]
    return ClassAreas(counts.diagonal().copy(), counts.sum(axis=1), counts[:, :num_classes].sum(axis=0))


@METRICS.register_module()
class MeanIoU(Metric):
    """mIoU, fwIoU, mAcc and aAcc of ``pred_sem_seg``, each 0-100.

    Pixels are added up over all images first. IoU is shared / (annotated + predicted - shared), Acc shared / annotated;
    void pixels of the annotation are left out of everything. fwIoU weights the IoU of each class with its share of the
    annotated pixels; aAcc is the share of the annotated pixels that have their class.

    A class that is predicted but never annotated has no Acc and no weight. There are two rules for its IoU:

    * 'annotated', of detectron2's ``SemSegEvaluator``, which the reference uses for ADE20K, COCO and Mapillary: it has
      no IoU either.
    * 'all', of ``mmseg.IoUMetric`` and of Cityscapes' own script: its IoU is 0 and lowers the mean.

    They agree if every class is annotated. Both leave out classes that are neither annotated nor predicted.

    Needs ``classes`` in the data set's metainfo. Logs a table with one line per class.
    """

    def __init__(self, ignore_index: int | None = None, average: Average = 'annotated', **gathering: Any) -> None:
        """Create the metric.

        Args:
            ignore_index: Value of void; None: what our transforms write, 255, or K + 1 above 255 classes.
            average: The classes that mIoU is averaged over.
            **gathering: Arguments of :class:`Metric`.

        Raises:
            UserError: There is no such average.
        """
        super().__init__(**gathering)
        if average not in get_args(Average):
            raise UserError(f"average of MeanIoU is {average!r}; choose 'annotated' or 'all'.")
        self.ignore_index = ignore_index
        self.average = average

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count one batch; keeps an array (3, K) per image."""
        num_classes = len(self.dataset_meta['classes'])
        void = ignore_index(num_classes) if self.ignore_index is None else self.ignore_index
        for sample in data_samples:
            if 'gt_sem_seg' not in sample:
                raise UserError(
                    f'{describe(sample)} has no annotation to compare with; put LoadPanopticIds into the test pipeline '
                    'and name the annotation file of this split in test_dataloader.dataset.ann_file.'
                )
            truth, prediction = (to_map(sample[name]['sem_seg']) for name in ('gt_sem_seg', 'pred_sem_seg'))
            try:
                self.results.append(np.stack(class_areas(truth, prediction, num_classes, void)))
            except ValueError as error:
                raise UserError(f'{describe(sample)}: {error}') from error

    def compute_metrics(self, results: list[np.ndarray]) -> dict[str, float]:
        """Return the averages over classes and log those of each class."""
        areas = ClassAreas(*np.sum(results, axis=0))
        with np.errstate(invalid='ignore', divide='ignore'):
            iou = 100 * areas.shared / (areas.truth + areas.predicted - areas.shared)
            accuracy = 100 * areas.shared / areas.truth
            shares = areas.truth / areas.truth.sum()
            overall = 100 * areas.shared.sum() / areas.truth.sum()
        if self.average == 'annotated':
            iou[areas.truth == 0] = np.nan
        self.class_values = {'IoU': iou, 'Acc': accuracy}
        rows = [[name, *values] for name, *values in zip(self.dataset_meta['classes'], iou.tolist(), accuracy.tolist())]
        print_log(f'IoU of each class\n{format_table(["class", "IoU", "Acc"], rows)}', logger='current')
        return {
            'mIoU': mean_of_seen(iou),
            'fwIoU': float(np.nansum(iou * shares)) if areas.truth.any() else float('nan'),
            'mAcc': mean_of_seen(accuracy),
            'aAcc': float(overall),
        }


def mean_of_seen(values: np.ndarray) -> float:
    """Return the mean without nan; nan if nothing is left."""
    return float('nan') if np.isnan(values).all() else float(np.nanmean(values))
