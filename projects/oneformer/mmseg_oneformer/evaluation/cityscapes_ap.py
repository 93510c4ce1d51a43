"""Instance AP by the protocol of Cityscapes, equal to its official script to the last digit.

The script reads one PNG per instance, iterates over them once per ground truth instance, writes files into the working
folder and needs an old numpy. Here the masks of an image are counted against one map of small numbers, and only areas
and overlaps are kept. The protocol differs from COCO's in more than the ground truth: there is no limit on detections
and no interpolation, objects below 100 pixels and groups are ignored, and the share of void that excuses a detection
is the threshold of the match.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from mmengine import fileio
from mmengine.logging import print_log
from mmengine.registry import METRICS

from ..datasets.benchmarks import CITYSCAPES, CITYSCAPES_LABEL_IDS
from ..errors import UserError
from ..run_lengths import decode_mask
from ..text_table import format_table
from .base import Metric
from .ground_truth import describe
from .mean_iou import mean_of_seen

THRESHOLDS = np.arange(0.5, 1.0, 0.05)
SMALLEST = 100
"""Minimum area in pixels of an object that has to be found."""

VOID_IDS = (0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30)
"""Labels that are not evaluated. Only exactly these numbers are void: numbered caravans and trailers are not."""


class InstanceOverlaps(NamedTuple):
    """Areas and overlaps of an image with G annotated and P predicted instances.

    Attributes:
        truth_label: (G,) class indices.
        truth_area: (G,) pixels.
        truth_group: (G,) bool, a group that is annotated as one instance.
        label: (P,) class indices.
        score: (P,).
        area: (P,) pixels, all above 0.
        on_void: (P,) pixels on labels that are not evaluated.
        shared: (P, G) pixels of each pair.
    """

    truth_label: np.ndarray
    truth_area: np.ndarray
    truth_group: np.ndarray
    label: np.ndarray
    score: np.ndarray
    area: np.ndarray
    on_void: np.ndarray
    shared: np.ndarray


def instance_overlaps(
    instance_ids: np.ndarray, instances: Mapping[str, Any], thing_ids: Sequence[int]
) -> InstanceOverlaps:
    """Count the pixels that predicted and annotated instances share.

    Args:
        instance_ids: (H, W) of an instanceIds PNG: a label id, or 1000 times the label id plus a number.
        instances: ``labels`` (P,) class indices, ``scores`` (P,), ``masks`` (P, H, W) bool or P run-length codes.
        thing_ids: Class indices of the things.

    Raises:
        UserError: A mask differs in size from the annotation.
    """
    areas = np.bincount(instance_ids.ravel(), minlength=max(VOID_IDS) + 1)
    values = np.flatnonzero(areas)
    label_of = {CITYSCAPES_LABEL_IDS[label]: label for label in thing_ids}
    labels = np.array([label_of.get(v if v < 1000 else v // 1000, -1) for v in values.tolist()], dtype=np.int64)
    values, labels = values[labels >= 0], labels[labels >= 0]
    # Small numbers: 0 = irrelevant, 1 = void, k + 2 = the k-th annotated instance.
    number = np.zeros(len(areas), dtype=np.uint16)
    number[list(VOID_IDS)] = 1
    number[values] = np.arange(2, len(values) + 2)
    numbers = number[instance_ids]

    counts = np.zeros((len(instances['masks']), len(values) + 2), dtype=np.int64)
    for place, mask in enumerate(instances['masks']):
        dense = decode_mask(mask)
        if dense.shape != numbers.shape:
            raise UserError(
                f'an instance mask is {dense.shape} and the annotation {numbers.shape} pixels (height, width); '
                'predictions must be rescaled to the original size before they are measured.'
            )
        counts[place] = np.bincount(numbers[dense], minlength=counts.shape[1])
    area = counts.sum(axis=1)
    seen = area > 0
    label = np.asarray(instances['labels'].cpu(), dtype=np.int64)[seen]
    score = np.asarray(instances['scores'].cpu(), dtype=np.float64)[seen]
    on_void, shared = counts[seen, 1], counts[seen, 2:]
    return InstanceOverlaps(labels, areas[values], values < 1000, label, score, area[seen], on_void, shared)


class ClassMatches(NamedTuple):
    """Detections of one class at one threshold over all images.

    Attributes:
        score: (D,) of the right and wrong detections; ignored ones are left out.
        right: (D,) bool.
        missed: Objects without a detection.
        to_find: Whether there is an object to find.
    """

    score: np.ndarray
    right: np.ndarray
    missed: int
    to_find: bool


def match_class(images: Sequence[InstanceOverlaps], label: int, threshold: float) -> ClassMatches:
    """Match the detections of class ``label``.

    An object of at least 100 pixels that is not a group is found by the best of the detections that overlap it by more
    than the threshold; the others are wrong. A detection that overlaps no object by that much is wrong, unless the
    share of it on void, groups and small objects exceeds the threshold (small groups count twice, as in the script).
    """
    scores, rights, missed, to_find = [np.zeros(0)], [np.zeros(0, dtype=bool)], 0, False
    for image in images:
        of_truth, of_prediction = image.truth_label == label, image.label == label
        truth_area, group = image.truth_area[of_truth], image.truth_group[of_truth]
        score, area = image.score[of_prediction], image.area[of_prediction]
        shared = image.shared[np.ix_(of_prediction, of_truth)]
        hit = shared / (truth_area + area[:, None] - shared) > threshold
        small = truth_area < SMALLEST
        counted = ~group & ~small
        to_find = to_find or bool(counted.any())
        for column in hit[:, counted].T:
            rivals = np.sort(score[column])[::-1]
            missed += not rivals.size
            scores.append(rivals)
            rights.append(np.arange(rivals.size) == 0)
        excused = image.on_void[of_prediction] + shared[:, group].sum(axis=1) + shared[:, small].sum(axis=1)
        wrong = score[~hit.any(axis=1) & (excused / area <= threshold)]
        scores.append(wrong)
        rights.append(np.zeros(wrong.size, dtype=bool))
    return ClassMatches(np.concatenate(scores), np.concatenate(rights), missed, to_find)


def average_precision(matches: ClassMatches) -> float:
    """Return the area under the precision-recall curve in [0, 1]; nan without an object to find.

    There is one point for each distinct score and one at recall 0 with precision 1. A point covers half the distance to
    each of its neighbours; the curve begins at its highest recall and ends at 0.
    """
    if not matches.to_find:
        return float('nan')
    if not matches.score.size:
        return 0.0
    score, place = np.unique(matches.score, return_inverse=True)
    size = len(score)
    # The right detections, and all detections, of at least each score: sums from the highest score downwards.
    right = np.bincount(place, weights=matches.right, minlength=size)[::-1].cumsum()[::-1]
    every = np.bincount(place, minlength=size)[::-1].cumsum()[::-1]
    precision = np.append(right / every, 1.0)
    recall = np.append(right / (right[0] + matches.missed), 0.0)
    around = np.concatenate((recall[:1], recall, [0.0]))
    return float(np.dot(precision, 0.5 * around[:-2] - 0.5 * around[2:]))


@METRICS.register_module()
class CityscapesAP(Metric):
    """AP and AP50 of ``pred_instances`` on Cityscapes' instanceIds, each 0-100; nan if there is nothing to find.

    The paths come from the data set (``data_prefix.instance``).
    """

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count one batch; keeps areas and overlaps."""
        classes, things = self.dataset_meta['classes'], self.dataset_meta['thing_ids']
        if tuple(classes) != CITYSCAPES['classes']:
            raise UserError(
                f'CityscapesAP knows the 19 classes of Cityscapes, not these {len(classes)}; measure with InstanceAP.'
            )
        for sample in data_samples:
            if 'instance_ids_path' not in sample:
                raise UserError(
                    f'{describe(sample)} comes without the path of its instanceIds; set data_prefix.instance of the '
                    'test data to the folder of the cities, or measure with InstanceAP.'
                )
            ids = read_instance_ids(sample['instance_ids_path'])
            try:
                self.results.append(instance_overlaps(ids, sample['pred_instances'], things))
            except ValueError as error:
                raise UserError(f'{describe(sample)}: {error}') from error

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Return the averages over classes and thresholds, and log those of each class."""
        classes, things = self.dataset_meta['classes'], self.dataset_meta['thing_ids']
        images = [InstanceOverlaps(*result) for result in results]  # mmengine passes plain tuples on
        precision = np.array(
            [[average_precision(match_class(images, label, limit)) for limit in THRESHOLDS] for label in things]
        )
        self.class_values = {name: np.full(len(classes), np.nan) for name in ('AP', 'AP50')}
        self.class_values['AP'][list(things)] = 100 * precision.mean(axis=1)
        self.class_values['AP50'][list(things)] = 100 * precision[:, 0]
        rows = [[classes[label], *[values[label] for values in self.class_values.values()]] for label in things]
        print_log(f'mask AP of each class\n{format_table(["class", "AP", "AP50"], rows)}', logger='current')
        return {'AP': 100 * mean_of_seen(precision), 'AP50': 100 * mean_of_seen(precision[:, 0])}


def read_instance_ids(path: str) -> np.ndarray:
    """Return an instanceIds PNG as (H, W) uint16.

    Raises:
        UserError: It is missing or is not such a PNG.
    """
    try:
        ids = cv2.imdecode(np.frombuffer(fileio.get(path), dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    except (OSError, cv2.error):
        ids = None
    if ids is None or ids.dtype != np.uint16 or ids.ndim != 2:
        raise UserError(
            f'{path} is missing or no PNG of one channel of 16 bits; unpack gtFine_trainvaltest.zip there, or measure '
            'with InstanceAP.'
        )
    return ids
