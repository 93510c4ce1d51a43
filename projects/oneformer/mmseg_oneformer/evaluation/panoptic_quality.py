"""Panoptic quality in memory, equal to the panopticapi protocol to the last digit.

The protocol writes each prediction as a PNG, reads it again and sorts both maps. Here both maps hold small contiguous
indices, so one joint ``bincount`` counts every overlap of an image.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.registry import METRICS

from .ground_truth import describe, panoptic_truth, to_map
from .tables import format_table


class PQStatistics(NamedTuple):
    """What panoptic quality adds up over images; each an array (K,), one entry a class.

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
    """Match the segments of one image by the rules of panopticapi.

    A pair matches when its classes are equal and its IoU exceeds 0.5, with the void pixels of the annotation taken out
    of the union. Crowds match nothing and are never missed. An unmatched prediction is not a false positive when more
    than half of it lies on void and on the crowd of its class together (of several crowds of a class, the last).

    Args:
        gt_map: (H, W) integer; 0 is void, k the k-th entry (from 1) of ``gt_segments``.
        gt_segments: One mapping a segment with ``label`` in [0, K) and ``iscrowd``.
        pred_map: (H, W) integer; an ``id`` of ``pred_segments`` or ``num_classes`` for void.
        pred_segments: One mapping a segment with ``id`` and ``category_id`` in [0, K).
        num_classes: K.

    Raises:
        ValueError: The maps differ in size, or a map and its table contradict each other.
    """
    if gt_map.shape != pred_map.shape:
        raise ValueError(
            f'the prediction is {pred_map.shape} and the annotation {gt_map.shape} pixels (height, width); answers '
            'must be rescaled to the original size before they are measured.'
        )
    gt_label = _labels((segment['label'] for segment in gt_segments), num_classes, 'annotation')
    pred_label = _labels((segment['category_id'] for segment in pred_segments), num_classes, 'prediction')
    crowd = np.array([bool(segment['iscrowd']) for segment in gt_segments], dtype=bool)
    overlap = _overlaps(gt_map, len(gt_segments), pred_map, pred_segments, num_classes)

    gt_area, pred_area = overlap.sum(axis=1)[1:], overlap.sum(axis=0)[1:]
    if not pred_area.all():
        absent = pred_segments[int(np.argmin(pred_area))]['id']
        raise ValueError(f'predicted segment {absent} is in segments_info but has no pixel in the map; leave it out.')
    on_void, shared = overlap[0, 1:], overlap[1:, 1:]
    gt_index, pred_index = np.nonzero((shared > 0) & (gt_label[:, None] == pred_label) & ~crowd[:, None])
    intersection = shared[gt_index, pred_index]
    iou = intersection / (gt_area[gt_index] + pred_area[pred_index] - intersection - on_void[pred_index])
    matched = iou > 0.5

    missed = ~crowd
    missed[gt_index[matched]] = False
    excused = on_void.copy()
    last_crowd = {int(gt_label[i]): int(i) for i in np.flatnonzero(crowd)}
    for i, label in enumerate(pred_label.tolist()):
        if label in last_crowd:
            excused[i] += shared[last_crowd[label], i]
    wrong = excused / pred_area <= 0.5
    wrong[pred_index[matched]] = False

    def count(labels: np.ndarray) -> np.ndarray:
        return np.bincount(labels, minlength=num_classes)

    hits = gt_label[gt_index[matched]]
    iou_sum = np.bincount(hits, weights=iou[matched], minlength=num_classes)
    return PQStatistics(iou_sum, count(hits), count(pred_label[wrong]), count(gt_label[missed]))


def _labels(labels: Iterable[int], num_classes: int, owner: str) -> np.ndarray:
    array = np.array(list(labels), dtype=np.int64)
    if array.size and not 0 <= array.min() <= array.max() < num_classes:
        wrong = array[(array < 0) | (array >= num_classes)][0]
        raise ValueError(
            f'the {owner} has a segment of class {wrong}, but there are only classes 0 to {num_classes - 1}.'
        )
    return array


def _overlaps(
    gt_map: np.ndarray, num_gt: int, pred_map: np.ndarray, segments: Sequence[Mapping[str, Any]], void: int
) -> np.ndarray:
    """Return the pixel counts (num_gt + 1, num_pred + 1) of every pair; row and column 0 are void.

    Predicted ids become column numbers by a look-up table, and ids without an entry show in a column of their own.
    """
    ids = np.array([segment['id'] for segment in segments], dtype=np.int64)
    if len({void, *ids.tolist()}) != len(ids) + 1 or (ids <= 0).any():
        raise ValueError(f'predicted segment ids must be distinct, positive and not {void} (void): {ids.tolist()}.')
    unknown, columns = len(ids) + 1, len(ids) + 2
    if gt_map.min(initial=0) < 0 or gt_map.max(initial=0) > num_gt:
        raise ValueError(f'the annotation map holds indices outside 0 to {num_gt}, the number of its segments.')
    table = np.full(max(void, ids.max(initial=0)) + 2, unknown, dtype=np.int32)
    table[void] = 0
    table[ids] = np.arange(1, len(ids) + 1)
    # Ids outside the table are clipped to its first or last entry, both unknown.
    joint = gt_map.astype(np.int32) * np.int32(columns) + table.take(pred_map, mode='clip')
    overlap = np.bincount(joint.ravel(), minlength=(num_gt + 1) * columns).reshape(num_gt + 1, columns)
    if overlap[:, unknown].any():
        stray = int(pred_map[~np.isin(pred_map, [void, *ids])][0])
        raise ValueError(f'id {stray} is in the predicted map but not in segments_info; add it, or use void ({void}).')
    return overlap[:, :unknown]


def class_quality(statistics: PQStatistics) -> np.ndarray:
    """Return PQ, SQ and RQ of each class as an array (3, K) in [0, 1]; nan where a class never occurred.

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

    Classes that occur neither in the annotation nor in the prediction are left out of the averages; a group of which
    no class occurs is nan.
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
class PanopticQuality(BaseMetric):
    """Panoptic quality of ``pred_panoptic_seg``: PQ, SQ, RQ for all classes, things and stuff, each 0-100.

    Needs ``classes`` and ``thing_ids`` in the data set's metainfo. Logs a table with one line a class.
    """

    default_prefix = ''  # plain names; mmengine warns about None

    def __init__(self, collect_device: str = 'gpu', prefix: str | None = None, collect_dir: str | None = None) -> None:
        """Create the metric.

        Args:
            collect_device: How several processes bring their results together. 'gpu' gathers through the process group,
                gloo included, and leaves no folder behind; 'cpu' goes through files.
            prefix: Put before the names of the metrics, with a slash.
            collect_dir: Folder for ``collect_device='cpu'``.
        """
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count one batch; keeps an array (4, K) an image."""
        num_classes = len(self.dataset_meta['classes'])
        for sample in data_samples:
            truth = panoptic_truth(sample)
            prediction = sample['pred_panoptic_seg']
            try:
                statistics = pq_statistics(
                    *truth, to_map(prediction['sem_seg']), prediction['segments_info'], num_classes
                )
            except ValueError as error:
                raise ValueError(f'{describe(sample)}: {error}') from error
            self.results.append(np.stack(statistics).astype(np.float64))

    def compute_metrics(self, results: list[np.ndarray]) -> dict[str, float]:
        """Return the averages over classes and log those of each class."""
        classes = self.dataset_meta['classes']
        total = np.zeros((4, len(classes)))
        for counts in results:  # one after the other: the order of panopticapi, whatever the number of processes
            total += counts
        statistics = PQStatistics(*total)
        rows = [
            [name, *(100 * quality).tolist(), *[f'{count:.0f}' for count in counts]]
            for name, quality, counts in zip(classes, class_quality(statistics).T, total[1:].T)
        ]
        table = format_table(['class', 'PQ', 'SQ', 'RQ', 'matched', 'false', 'missed'], rows)
        print_log(f'panoptic quality of each class\n{table}', logger='current')
        return summarize_quality(statistics, self.dataset_meta['thing_ids'])
