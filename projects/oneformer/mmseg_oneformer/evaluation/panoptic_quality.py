"""Panoptic quality in memory, equal to the panopticapi protocol to the last digit.

The protocol writes each prediction as a PNG and reads it again; here maps stay in memory (:mod:`.matching`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from mmengine.logging import print_log
from mmengine.registry import METRICS

from ..errors import UserError
from ..text_table import format_table
from .base import Metric
from .ground_truth import describe, panoptic_truth, to_map
from .matching import match_segments


class PQStatistics(NamedTuple):
    """The sums over images for panoptic quality; each an array (K,), one entry per class.

    Attributes:
        iou_sum: Sum of the IoUs of the matched pairs, float64.
        tp: Matched pairs.
        fp: Predicted segments without a match.
        fn: Annotated segments without a match.
    """

    iou_sum: np.ndarray
    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray


def pq_statistics(
    gt_map: np.ndarray,
    gt_segments: Sequence[Mapping[str, Any]],
    pred_map: np.ndarray,
    pred_segments: Sequence[Mapping[str, Any]],
    num_classes: int,
) -> PQStatistics:
    """Count one image by the rules of panopticapi; arguments and errors are those of :func:`match_segments`."""
    matching = match_segments(gt_map, gt_segments, pred_map, pred_segments, num_classes)

    def count(labels: np.ndarray) -> np.ndarray:
        return np.bincount(labels, minlength=num_classes)

    hits = matching.gt_label[matching.gt_index]
    iou_sum = np.bincount(hits, weights=matching.iou, minlength=num_classes)
    wrong, missed = matching.pred_label[matching.wrong], matching.gt_label[matching.missed]
    return PQStatistics(iou_sum, count(hits), count(wrong), count(missed))


def class_quality(statistics: PQStatistics) -> np.ndarray:
    """Return PQ, SQ and RQ of each class as an array (3, K) in [0, 1]; nan for a class that never occurred.

    PQ = iou_sum / (tp + fp/2 + fn/2), SQ = iou_sum / tp (0 without a match), RQ = tp / (tp + fp/2 + fn/2).
    """
    iou_sum, tp, fp, fn = statistics
    size = tp + 0.5 * fp + 0.5 * fn
    with np.errstate(divide='ignore', invalid='ignore'):
        recognition = tp / size
        segmentation = np.where(tp > 0, iou_sum / tp, np.where(size > 0, 0.0, np.nan))
        return np.stack([iou_sum / size, segmentation, recognition])


def summarize_quality(statistics: PQStatistics, thing_ids: Sequence[int]) -> dict[str, float]:
    """Return PQ, SQ and RQ of all classes, of things (``_th``) and of stuff (``_st``), 0-100.

    Classes that occur neither in the annotation nor in the prediction are left out of the averages; the average of a
    group without any class that occurs is nan.
    """
    quality = class_quality(statistics)
    is_thing = np.zeros(quality.shape[1], dtype=bool)
    is_thing[list(thing_ids)] = True
    metrics = {}
    for suffix, group in (('', np.ones_like(is_thing)), ('_th', is_thing), ('_st', ~is_thing)):
        seen = group & ~np.isnan(quality[0])
        for name, values in zip(('PQ', 'SQ', 'RQ'), quality):
            # From the first class to the last, as panopticapi adds: numpy's pairwise sum and Python's compensated one
            # (from 3.12 on) round differently.
            total = float(np.cumsum(values[seen])[-1]) if seen.any() else float('nan')
            metrics[name + suffix] = 100 * total / max(int(seen.sum()), 1)
    return metrics


@METRICS.register_module()
class PanopticQuality(Metric):
    """Panoptic quality of ``pred_panoptic_seg``: PQ, SQ, RQ for all classes, things and stuff, each 0-100.

    Needs ``classes`` and ``thing_ids`` in the data set's metainfo. Logs a table with one line per class.
    """

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count one batch; keeps an array (4, K) per image."""
        num_classes = len(self.dataset_meta['classes'])
        for sample in data_samples:
            truth = panoptic_truth(sample)
            prediction = sample['pred_panoptic_seg']
            try:
                statistics = pq_statistics(
                    *truth, to_map(prediction['sem_seg']), prediction['segments_info'], num_classes
                )
            except ValueError as error:
                raise UserError(f'{describe(sample)}: {error}') from error
            self.results.append(np.stack(statistics).astype(np.float64))

    def compute_metrics(self, results: list[np.ndarray]) -> dict[str, float]:
        """Return the averages over classes and log those of each class."""
        classes = self.dataset_meta['classes']
        total = np.zeros((4, len(classes)))
        for counts in results:  # one at a time: the order of panopticapi, whatever the number of processes
            total += counts
        statistics = PQStatistics(*total)
        quality = 100 * class_quality(statistics)
        self.class_values = dict(zip(('PQ', 'SQ', 'RQ'), quality))
        rows = [
            [name, *values.tolist(), *[f'{count:.0f}' for count in counts]]
            for name, values, counts in zip(classes, quality.T, total[1:].T)
        ]
        table = format_table(['class', 'PQ', 'SQ', 'RQ', 'matched', 'false', 'missed'], rows)
        print_log(f'panoptic quality of each class\n{table}', logger='current')
        return summarize_quality(statistics, self.dataset_meta['thing_ids'])
