"""Does an exported model answer as PyTorch does?"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ..apis.inferencer import OneFormerInferencer
from ..tasks import TASKS
from .oneformer_numpy import OneFormer, postprocess, preprocess

__all__ = ['Comparison', 'compare_with_torch']


class Comparison(NamedTuple):
    """One task, over all photos."""

    task: str
    max_difference: float
    """Of class and mask logits, the largest absolute one."""
    equal: float
    """Share of pixels with the same class: semantic and panoptic maps, and the best instance over each pixel."""

    @property
    def agrees(self) -> bool:
        """Whether the share is at least 99.9 %."""
        return self.equal >= 0.999


def compare_with_torch(folder: Path, infer: OneFormerInferencer, photos: Iterable[np.ndarray]) -> list[Comparison]:
    """Answer photos by the exported folder and by PyTorch.

    The logits are compared on the same input; the labels from photo to answer, so resizing, padding and
    post-processing by numpy are part of the comparison.

    Args:
        folder: As :func:`export_onnx` writes it.
        infer: The same model, on the CPU.
        photos: (H, W, 3) uint8 BGR.
    """
    exported = OneFormer(folder)
    index = np.arange(len(TASKS))
    difference = dict.fromkeys(TASKS, 0.0)
    equal: dict[str, list[float]] = {task: [] for task in TASKS}
    for photo in photos:
        rgb = np.ascontiguousarray(photo[:, :, ::-1])
        pixels, size = preprocess(rgb, exported.meta)
        found = exported.session.run(None, {'image': pixels, 'task': index})
        normalised = (torch.from_numpy(pixels) - infer.model.data_preprocessor.mean) / infer.model.data_preprocessor.std
        with torch.inference_mode():
            expected = infer.model.answer_logits(normalised, TASKS)
        (sample,) = infer(photo, mask_format='dense', progress=False, channel_order='bgr')
        own = _labels_of_sample(sample, infer.dataset_meta)
        for t, task in enumerate(TASKS):
            for ours, theirs in zip(found, expected, strict=True):
                difference[task] = max(difference[task], float(np.abs(ours[0, t] - theirs[0, t].numpy()).max()))
            answer = postprocess(task, found[0][0, t], found[1][0, t], size, exported.meta)
            equal[task].append(float((_labels(task, answer) == own[task]).mean()))
    return [Comparison(task, difference[task], float(np.mean(equal[task]))) for task in TASKS]


def _labels(task: str, answer: Any) -> np.ndarray:
    """Return a class a pixel of any answer of ``oneformer_numpy``."""
    if task == 'semantic':
        return answer
    if task == 'instance':
        return _painted(answer.labels, answer.scores, answer.masks)
    return answer[0] % 1000


def _labels_of_sample(sample: Any, dataset_meta: Any) -> dict[str, np.ndarray]:
    found = sample.pred_instances
    return {
        'semantic': sample.pred_sem_seg.sem_seg[0].numpy(),
        'instance': _painted(found.labels.numpy(), found.scores.numpy(), found.masks.numpy()),
        'panoptic': sample.pred_panoptic_seg.sem_seg[0].numpy() % 1000,
    }


def _painted(labels: np.ndarray, scores: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the class of the best instance of each pixel, of those with a score of 0.5 or more; -1 without one."""
    painted = np.full(masks.shape[1:], -1, np.int64)
    for label, mask in zip(labels[scores >= 0.5][::-1], masks[scores >= 0.5][::-1]):
        painted[mask] = label
    return painted
