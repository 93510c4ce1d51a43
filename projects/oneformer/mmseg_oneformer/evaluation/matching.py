"""Which predicted segment matches which annotated one: the rules of panopticapi, for one image.

The protocol sorts both maps. Here both hold small contiguous indices, so one joint ``bincount`` counts every overlap of
an image. Panoptic quality, the report of segments and their confusion all use these matches.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import UserError


class SegmentMatching(NamedTuple):
    """The segments of one image, G annotated and P predicted ones, and their matches.

    Attributes:
        overlap: (G + 1, P + 1) pixel counts of every pair; row and column 0 are void.
        pair_iou: (G, P) IoU of every pair of any classes, with void pixels of the annotation left out of the union; 0
            for a pair of empty segments.
        gt_label: (G,) class indices.
        pred_label: (P,) class indices.
        crowd: (G,) bool.
        gt_index: (M,) annotated segment of each matched pair, from 0.
        pred_index: (M,) predicted segment of each matched pair, from 0.
        iou: (M,) of the matched pairs, above 0.5.
        missed: (G,) bool, annotated segments without a match (FN); a crowd is never one.
        wrong: (P,) bool, predicted segments without a match or an excuse (FP).
    """

    overlap: np.ndarray
    pair_iou: np.ndarray
    gt_label: np.ndarray
    pred_label: np.ndarray
    crowd: np.ndarray
    gt_index: np.ndarray
    pred_index: np.ndarray
    iou: np.ndarray
    missed: np.ndarray
    wrong: np.ndarray


def match_segments(
    gt_map: np.ndarray,
    gt_segments: Sequence[Mapping[str, Any]],
    pred_map: np.ndarray,
    pred_segments: Sequence[Mapping[str, Any]],
    num_classes: int,
) -> SegmentMatching:
    """Match the segments of one image by the rules of panopticapi.

    A pair matches if its classes are equal and its IoU exceeds 0.5, with the void pixels of the annotation left out
    of the union. Crowds match nothing and are never missed. An unmatched prediction is not a false positive when more
    than half of it lies on void and on the crowd of its class together (of several crowds of a class, the last).

    Args:
        gt_map: (H, W) integer; 0 is void, k the k-th entry (from 1) of ``gt_segments``.
        gt_segments: One mapping per segment with ``label`` in [0, K) and ``iscrowd``; if ``area`` (pixels) is given, it
            is used for the union instead of the counted one, as panopticapi uses that of the JSON.
        pred_map: (H, W) integer; an ``id`` of ``pred_segments`` or ``num_classes`` for void.
        pred_segments: One mapping per segment with ``id`` and ``category_id`` in [0, K).
        num_classes: K.

    Raises:
        UserError: The maps differ in size, or a map and its table contradict each other.
    """
    if gt_map.shape != pred_map.shape:
        raise UserError(
            f'the prediction is {pred_map.shape} and the annotation {gt_map.shape} pixels (height, width); '
            'predictions must be rescaled to the original size before they are measured.'
        )
    gt_label = _labels((segment['label'] for segment in gt_segments), num_classes, 'annotation')
    pred_label = _labels((segment['category_id'] for segment in pred_segments), num_classes, 'prediction')
    crowd = np.array([bool(segment['iscrowd']) for segment in gt_segments], dtype=bool)
    overlap = _overlaps(gt_map, len(gt_segments), pred_map, pred_segments, num_classes)

    counted, pred_area = overlap.sum(axis=1)[1:].tolist(), overlap.sum(axis=0)[1:]
    gt_area = np.array(
        [segment.get('area', area) for segment, area in zip(gt_segments, counted, strict=True)], np.int64
    )
    if not pred_area.all():
        absent = pred_segments[int(np.argmin(pred_area))]['id']
        raise UserError(f'predicted segment {absent} is in segments_info but has no pixel in the map; leave it out.')
    on_void, shared = overlap[0, 1:], overlap[1:, 1:]
    union = gt_area[:, None] + pred_area - shared - on_void
    pair_iou = shared / np.maximum(union, 1)
    gt_index, pred_index = np.nonzero((gt_label[:, None] == pred_label) & ~crowd[:, None] & (pair_iou > 0.5))

    missed = ~crowd
    missed[gt_index] = False
    excused = on_void.copy()
    last_crowd = {int(gt_label[i]): int(i) for i in np.flatnonzero(crowd)}
    for i, label in enumerate(pred_label.tolist()):
        if label in last_crowd:
            excused[i] += shared[last_crowd[label], i]
    wrong = excused / pred_area <= 0.5
    wrong[pred_index] = False
    iou = pair_iou[gt_index, pred_index]
    return SegmentMatching(overlap, pair_iou, gt_label, pred_label, crowd, gt_index, pred_index, iou, missed, wrong)


def _labels(labels: Iterable[int], num_classes: int, owner: str) -> np.ndarray:
    array = np.array(list(labels), dtype=np.int64)
    if array.size and not 0 <= array.min() <= array.max() < num_classes:
        wrong = array[(array < 0) | (array >= num_classes)][0]
        raise UserError(
            f'the {owner} has a segment of class {wrong}, but there are only classes 0 to {num_classes - 1}.'
        )
    return array


def _overlaps(
    gt_map: np.ndarray, num_gt: int, pred_map: np.ndarray, segments: Sequence[Mapping[str, Any]], void: int
) -> np.ndarray:
    """Return the pixel counts (num_gt + 1, num_pred + 1) of every pair; row and column 0 are void.

    A look-up table turns predicted ids into column numbers; ids without an entry get a column of their own.
    """
    ids = np.array([segment['id'] for segment in segments], dtype=np.int64)
    if len({void, *ids.tolist()}) != len(ids) + 1 or (ids <= 0).any():
        raise UserError(f'predicted segment ids must be distinct, positive and not {void} (void): {ids.tolist()}.')
    unknown, columns = len(ids) + 1, len(ids) + 2
    if gt_map.min(initial=0) < 0 or gt_map.max(initial=0) > num_gt:
        raise UserError(f'the annotation map holds indices outside 0 to {num_gt}, the number of its segments.')
    table = np.full(max(void, ids.max(initial=0)) + 2, unknown, dtype=np.int32)
    table[void] = 0
    table[ids] = np.arange(1, len(ids) + 1)
    # Ids outside the table are clipped to its first or last entry, which both stand for unknown ids.
    joint = gt_map.astype(np.int32) * np.int32(columns) + table.take(pred_map, mode='clip')
    overlap = np.bincount(joint.ravel(), minlength=(num_gt + 1) * columns).reshape(num_gt + 1, columns)
    if overlap[:, unknown].any():
        stray = int(pred_map[~np.isin(pred_map, [void, *ids])][0])
        raise UserError(f'id {stray} is in the predicted map but not in segments_info; add it, or use void ({void}).')
    return overlap[:, :unknown]
