"""The segments of one image as plain data, with what panoptic quality made of each."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from ..ground_truth import PanopticTruth
from ..matching import SegmentMatching, match_segments

Record = dict[str, Any]


def image_record(
    truth: PanopticTruth, pred_map: np.ndarray, pred_segments: Sequence[Mapping[str, Any]], num_classes: int
) -> Record:
    """Return the record of an image.

    It has ``height``, ``width``, ``quality`` (PQ over the segments of this image, 0-100: the sum of the IoUs
    over TP + FP/2 + FN/2; None without a segment that counts), ``tp``, ``fp``, ``fn`` and ``segments``. A segment has:

    * ``outcome``: 'tp', 'fp' or 'fn', a matched, false or missed segment; 'ignored', a prediction excused by void or a
      crowd; 'crowd', an annotated crowd;
    * ``class``: class index;
    * ``iou``: with its match, or the largest with any segment of the other side, of whatever class, void left out;
    * ``annotated``, ``predicted``: ``id``, ``area`` in pixels and ``box`` (left, top, width, height), ``score`` of the
      predicted where there is one; None where there is none;
    * ``nearest``: of an unmatched segment, ``id`` and ``class`` of the segment that ``iou`` is with, None if it is 0.

    Args:
        truth: Annotation.
        pred_map: (H, W) integer; an ``id`` of ``pred_segments`` or ``num_classes`` for void.
        pred_segments: One mapping a segment with ``id`` and ``category_id``, maybe ``score``.
        num_classes: K.

    Raises:
        UserError: Annotation and prediction do not fit together or contradict themselves.
    """
    matching = match_segments(*truth, pred_map, pred_segments, num_classes)
    position = np.zeros(1 + max([num_classes, *(segment['id'] for segment in pred_segments)]), np.int32)
    position[[segment['id'] for segment in pred_segments]] = np.arange(1, len(pred_segments) + 1)
    annotated = _places(truth.index_map, truth.segments, matching.overlap.sum(axis=1)[1:])
    predicted = _places(position[pred_map], pred_segments, matching.overlap.sum(axis=0)[1:])

    tp, fp, fn = len(matching.iou), int(matching.wrong.sum()), int(matching.missed.sum())
    counted = tp + 0.5 * fp + 0.5 * fn
    return {
        'height': int(pred_map.shape[0]),
        'width': int(pred_map.shape[1]),
        'quality': round(100 * float(matching.iou.sum()) / counted, 4) if counted else None,
        'tp': tp,
        'fp': fp,
        'fn': fn,
        'segments': [*_matched(matching, annotated, predicted), *_unmatched(matching, annotated, predicted)],
    }


def _places(index_map: np.ndarray, segments: Sequence[Mapping[str, Any]], areas: np.ndarray) -> list[Record]:
    """Return id, area and box of each segment; the box of one without a pixel is all 0."""
    places = []
    for segment, area, slices in zip(segments, areas, ndimage.find_objects(index_map, max_label=len(segments))):
        rows, columns = slices or (slice(0, 0), slice(0, 0))
        box = [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start]
        place = {'id': int(segment['id']), 'area': int(area), 'box': box}
        if segment.get('score') is not None:
            place['score'] = round(float(segment['score']), 6)
        places.append(place)
    return places


def _matched(matching: SegmentMatching, annotated: Sequence[Record], predicted: Sequence[Record]) -> list[Record]:
    return [
        {
            'outcome': 'tp',
            'class': int(matching.gt_label[g]),
            'iou': round(float(iou), 6),
            'annotated': annotated[g],
            'predicted': predicted[p],
            'nearest': None,
        }
        for g, p, iou in zip(matching.gt_index, matching.pred_index, matching.iou)
    ]


def _unmatched(matching: SegmentMatching, annotated: Sequence[Record], predicted: Sequence[Record]) -> list[Record]:
    """Return the records of false and missed segments, of excused ones, and of crowds."""
    records = []
    found = set(matching.pred_index.tolist())
    for p, place in enumerate(predicted):
        if p not in found:
            side = matching.pair_iou[:, p], annotated, matching.gt_label
            outcome, label = 'fp' if matching.wrong[p] else 'ignored', int(matching.pred_label[p])
            records.append({'outcome': outcome, 'class': label} | _nearest(*side, annotated=None, predicted=place))
    found = set(matching.gt_index.tolist())
    for g, place in enumerate(annotated):
        if g not in found:
            side = matching.pair_iou[g], predicted, matching.pred_label
            outcome, label = 'crowd' if matching.crowd[g] else 'fn', int(matching.gt_label[g])
            records.append({'outcome': outcome, 'class': label} | _nearest(*side, annotated=place, predicted=None))
    return records


def _nearest(ious: np.ndarray, others: Sequence[Record], labels: np.ndarray, **places: Record | None) -> Record:
    """Return the rest of an unmatched segment's record, by its IoU with each segment of the other side."""
    best = int(ious.argmax()) if len(ious) else 0
    iou = float(ious[best]) if len(ious) else 0.0
    nearest = {'id': others[best]['id'], 'class': int(labels[best])} if iou else None
    return {'iou': round(iou, 6), **places, 'nearest': nearest}
