"""Which task a training image is for, and what its targets then are (paper §3.1)."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet.structures.mask import BitmapMasks
from mmengine.registry import TRANSFORMS
from torch import Tensor

from ...errors import UserError
from ...tasks import TASKS, check_task

__all__ = ['SampleTask', 'TargetMasks', 'TaskTargets', 'target_masks', 'task_targets']


@TRANSFORMS.register_module()
class SampleTask(BaseTransform):
    """Draw the task that a training image is for: joint training samples all three uniformly.

    A data set whose annotation does not support every task says so in ``tasks`` of the results. Its own ``task_probs``
    come before the ones given here.

    Args:
        probs: Probability of each task, summing to 1; a task that is not named is never drawn. The reference states
            cumulative thresholds instead and so misses instance in two of its Mapillary configs.
        renormalise: For an image that does not support all of these tasks, draw among those it does, in the
            proportions of ``probs``. By default such an image is an error.
    """

    def __init__(self, probs: Mapping[str, float], renormalise: bool = False) -> None:
        self.probs = checked_probs(probs, 'SampleTask')
        self.renormalise = renormalise

    def probs_for(
        self, tasks: Collection[str], task_probs: Mapping[str, float] | None, source: str
    ) -> dict[str, float]:
        """Probability of each task for the images of one source, summing to 1.

        Args:
            tasks: Those that its annotation supports.
            task_probs: Probabilities of its own, or None.
            source: Its name, for the error.

        Raises:
            UserError: A task may be drawn that it does not support, or none that it does.
        """
        probs = self.probs if task_probs is None else checked_probs(task_probs, f'task_probs of {source}')
        supported = {task: prob for task, prob in probs.items() if task in tasks}
        if len(supported) == len(probs):
            return probs
        if task_probs is None and self.renormalise and supported:
            total = sum(supported.values())
            return {task: prob / total for task, prob in supported.items()}
        unsupported = next(task for task in probs if task not in tasks)
        raise UserError(
            f'{source} is annotated for {" and ".join(tasks)} alone and may be drawn for {unsupported}; set task_probs='
            f'{dict.fromkeys(tasks, 1 / len(tasks))} of this data set, or SampleTask(renormalise=True) with one of its '
            'tasks among the probs.'
        )

    def task_for(self, draw: float, probs: Mapping[str, float] | None = None) -> str:
        """The task of a uniform ``draw`` in [0, 1): semantic below its probability, then instance, then panoptic."""
        bound = 0.0
        for task, prob in (probs or self.probs).items():
            bound += prob
            if draw < bound:
                return task
        return task  # Rounding of the sum.

    def transform(self, results: dict) -> dict:
        """Add ``task`` to ``results``."""
        source = results.get('img_path', 'The image')
        probs = self.probs_for(results.get('tasks', TASKS), results.get('task_probs'), source)
        results['task'] = self.task_for(np.random.uniform(), probs)
        return results


@TRANSFORMS.register_module()
class TaskTargets(BaseTransform):
    """Turn map, segment table and task into one map of target indices and the targets' labels.

    The targets of one image are disjoint, so one (h, w) map says what a stack of (M, h, w) masks would.
    """

    def transform(self, results: dict) -> dict:
        """Add ``gt_index_map`` (h, w) int16, -1 = none, and ``gt_labels`` (M,) int64 to ``results``.

        Raises:
            UserError: If the map or the task is missing.
        """
        if results.get('gt_seg_map') is None:
            raise UserError(
                f'{results.get("img_path", "The image")} has no segment map: training needs panoptic annotations and '
                'LoadPanopticIds before TaskTargets.'
            )
        if 'task' not in results:
            raise UserError('TaskTargets needs a task: put SampleTask before it in the pipeline.')
        results['gt_index_map'], results['gt_labels'] = task_targets(
            results['gt_seg_map'], results['segments_info'], results['task']
        )
        return results


@TRANSFORMS.register_module()
class TargetMasks(BaseTransform):
    """Give a packed training sample the masks that mmdet's models expect; stands behind ``PackOneFormerInputs``."""

    def transform(self, results: dict) -> dict:
        """Replace ``gt_targets`` of the data sample by ``gt_instances.masks`` (M, h, w).

        Raises:
            UserError: If the sample has no targets.
        """
        sample = results.get('data_samples')
        if sample is None or 'gt_targets' not in sample:
            raise UserError(
                'TargetMasks needs packed targets: put TaskTargets and PackOneFormerInputs before it in the pipeline.'
            )
        masks = target_masks(sample.gt_targets.index_map, len(sample.gt_instances.labels))
        sample.gt_instances.masks = BitmapMasks(masks.numpy().astype(np.uint8), *masks.shape[1:])
        del sample.gt_targets
        return results


def checked_probs(probs: Mapping[str, float], owner: str) -> dict[str, float]:
    """Probabilities above 0 in the order of ``TASKS``.

    Raises:
        UserError: A task is unknown, or the probabilities are none; the sentence begins with ``owner``.
    """
    for task, prob in probs.items():
        check_task(task)
        if not 0 <= prob <= 1:
            raise UserError(f'{owner}: the probability of {task} must lie in 0..1, got {prob}.')
    if abs(sum(probs.values()) - 1) > 1e-6:
        raise UserError(f'{owner}: probabilities must sum to 1, got {dict(probs)}.')
    return {task: float(probs[task]) for task in TASKS if probs.get(task, 0) > 0}


def task_targets(
    segment_map: np.ndarray, segments_info: Sequence[Mapping[str, Any]], task: str
) -> tuple[np.ndarray, np.ndarray]:
    """The targets of one image under one task (REF: reference code's unified mapper).

    Crowds and segments without a pixel (left after cropping) are no targets in any task. Semantic merges the segments
    of a class, instance takes things only, panoptic everything. Targets stand in the order of the segment table; a
    merged class stands where its first segment does.

    Args:
        segment_map: (h, w) uint8 or int32, 0 = void, k = ``segments_info[k - 1]``.
        segments_info: Segment table with ``label``, ``isthing`` and ``iscrowd``.
        task: 'semantic', 'instance' or 'panoptic'.

    Returns:
        Index map (h, w) int16: -1 = none, m = target m; and class labels (M,) int64.
    """
    check_task(task)
    # Bytes are searched and looked up several times as fast as 32-bit numbers, and few photos need more.
    in_bytes = len(segments_info) < 256
    numbers = segment_map.astype(np.uint8, copy=False) if in_bytes else segment_map
    present = _present(numbers, len(segments_info) + 1)
    target_of = np.full(256 if in_bytes else len(segments_info) + 1, -1, dtype=np.int16)
    labels: list[int] = []
    for number, segment in enumerate(segments_info, start=1):
        if segment['iscrowd'] or not present[number] or (task == 'instance' and not segment['isthing']):
            continue
        label = int(segment['label'])
        if task == 'semantic' and label in labels:
            target_of[number] = labels.index(label)
            continue
        target_of[number] = len(labels)
        labels.append(label)
    index_map = cv2.LUT(numbers, target_of) if in_bytes else target_of[numbers]
    return index_map, np.asarray(labels, dtype=np.int64)


def _present(numbers: np.ndarray, size: int) -> Sequence[bool] | np.ndarray:
    """Return for each number below ``size`` whether a pixel of a map (h, w) holds it."""
    if numbers.dtype != np.uint8:
        return np.bincount(numbers.reshape(-1), minlength=size) > 0
    # A search ends at the first hit, and takes a thirtieth of the time of counting where there is none.
    pixels = numbers.tobytes()
    return [number in pixels for number in range(size)]


def target_masks(index_map: Tensor, num_targets: int) -> Tensor:
    """Masks (M, h, w) bool of an index map (h, w) or (1, h, w); for tests and pictures, training needs none."""
    index_map = index_map.reshape(index_map.shape[-2:])
    return index_map == torch.arange(num_targets, dtype=index_map.dtype, device=index_map.device)[:, None, None]
