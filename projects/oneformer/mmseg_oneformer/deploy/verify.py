"""Comparison of an exported model's predictions with PyTorch's."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from ..apis import OneFormerInferencer, OneFormerResult
from ..apis.photo_logits import PhotoLogits
from ..datasets.drawing import draw_scene
from ..errors import UserError
from ..tasks import TASKS
from .oneformer_numpy import Instances, Runner, Size, postprocess, preprocess

__all__ = ['Comparison', 'compare_with_torch', 'drawn_photos', 'format_comparisons', 'network_runner']

CLOSE = 0.01
"""Logits that differ by no more than this are close."""

LEAST_CLOSE, LEAST_EQUAL = 0.95, 0.999
"""The share of the logits that has to be close, and the share of the labels that has to be equal.

Not all: a decoder layer attends where the last mask has a logit above 0, so rounding of a logit near 0 changes that.
"""

PALE = 0.3
"""Instances with a lower score, which hardly count as predictions, are left out of the comparison of labels."""


class Comparison(NamedTuple):
    """One task, over all photos."""

    task: str
    max_difference: float
    """The largest absolute difference of class and mask logits."""
    close: float
    """Share of the class logits or of the mask logits that differ by ``CLOSE`` at most, whichever is smaller."""
    equal: float
    """Share of pixels with the same class: semantic and panoptic maps, and the best instance over each pixel."""

    @property
    def agrees(self) -> bool:
        """Whether both models count as the same."""
        return self.close >= LEAST_CLOSE and self.equal >= LEAST_EQUAL


def compare_with_torch(
    run: Runner, meta: Mapping[str, Any], infer: OneFormerInferencer, photos: Iterable[np.ndarray]
) -> list[Comparison]:
    """Predict for photos with an exported model and with PyTorch, each from photo to labels with its own code.

    If the export has a fixed size, PyTorch gets that size too.

    Args:
        run: The exported network.
        meta: From :func:`deployment_meta`.
        infer: The same model.
        photos: (H, W, 3) uint8 BGR.
    """
    seen: dict[str, list[tuple[float, float, float]]] = {task: [] for task in TASKS}
    for photo in photos:
        pixels, size = preprocess(np.ascontiguousarray(photo[:, :, ::-1]), dict(meta))
        class_logits, mask_logits = run(pixels, np.arange(len(TASKS)))
        expected = _expected(infer, photo, pixels, size, bool(meta['fixed_size']))
        result = expected.predict(mask_format='dense')
        for t, task in enumerate(TASKS):
            ours = class_logits[0, t], mask_logits[0, t]
            theirs = expected.class_logits[task].cpu().numpy(), expected.mask_logits[task].cpu().numpy()
            if ours[1].shape != theirs[1].shape:
                raise UserError(f'The export runs at {size.padded} pixels, but PyTorch at {expected.size.padded}.')
            differences = [np.abs(a - b) for a, b in zip(ours, theirs)]
            labels = _labels(postprocess(task, *ours, size, dict(meta)))
            seen[task].append(
                (
                    float(max(difference.max() for difference in differences)),
                    min(float((difference <= CLOSE).mean()) for difference in differences),
                    float((labels == _result_labels(task, result)).mean()),
                )
            )
    return [
        Comparison(task, max(row[0] for row in rows), *(float(np.mean([row[k] for row in rows])) for k in (1, 2)))
        for task, rows in seen.items()
    ]


def network_runner(infer: OneFormerInferencer) -> Runner:
    """Return the network of a loaded model in the form of an exported one."""
    model, preprocessor = infer.model, infer.model.data_preprocessor

    def run(image: np.ndarray, task: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with torch.inference_mode():
            pixels = (torch.from_numpy(image).to(infer.device) - preprocessor.mean) / preprocessor.std
            classes, masks = model.predict_logits(pixels, [TASKS[k] for k in task])
        return classes.cpu().numpy(), masks.cpu().numpy()

    return run


def drawn_photos(count: int = 4) -> Iterator[np.ndarray]:
    """Yield drawn pictures (H, W, 3) uint8 BGR of several shapes, for a comparison without data."""
    rng = np.random.default_rng(0)
    for k in range(count):
        height, width = ((96, 96), (120, 200), (210, 130), (333, 500))[k % 4]
        scene = draw_scene(max(height, width), rng).image[:, :, ::-1]
        yield np.ascontiguousarray(cv2.resize(scene, (max(height, width),) * 2)[:height, :width])


def format_comparisons(comparisons: Iterable[Comparison]) -> str:
    """Return a table, a line for each task."""
    lines = ['task       largest difference  logits within 0.01  equal labels']
    lines += [
        f'{one.task:10} {one.max_difference:18.2g} {one.close:19.3%} {one.equal:13.4%}'
        f'{"" if one.agrees else "  differs"}'
        for one in comparisons
    ]
    return '\n'.join(lines)


def _expected(
    infer: OneFormerInferencer, photo: np.ndarray, pixels: np.ndarray, size: Size, fixed: bool
) -> PhotoLogits:
    """Return PyTorch's logits: from its own pipeline, or from the same pixels if the export has a fixed size."""
    prepared = infer.prepare(photo)
    if not fixed:
        return infer.logits([prepared])[0]
    class_logits, mask_logits = (torch.from_numpy(part[0]) for part in network_runner(infer)(pixels, np.arange(3)))
    sample = prepared.sample.clone()
    sample.set_metainfo({'img_shape': size.image})
    own = (infer.model.post_process, infer.dataset_meta)
    return PhotoLogits(prepared.source, photo, sample, TASKS, class_logits, mask_logits, size.padded, *own)


def _labels(prediction: Any) -> np.ndarray:
    """Return one class per pixel from any prediction of ``oneformer_numpy``."""
    if isinstance(prediction, Instances):
        return _painted(prediction.labels, prediction.scores, prediction.masks)
    return prediction[0] % 1000 if isinstance(prediction, tuple) else prediction


def _result_labels(task: str, result: OneFormerResult) -> np.ndarray:
    assert result.semantic is not None and result.instances is not None and result.panoptic is not None
    if task == 'instance':
        return _painted(result.instances.labels, result.instances.scores, result.instances.masks)
    return result.semantic if task == 'semantic' else result.panoptic.ids % 1000


def _painted(labels: np.ndarray, scores: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the class of the best instance of each pixel; -1 without one."""
    painted = np.full(masks.shape[1:], -1, np.int64)
    for label, mask in zip(labels[scores >= PALE][::-1], masks[scores >= PALE][::-1]):
        painted[mask] = label
    return painted
