"""From logits to predictions under the names that mmdet and mmseg use."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from mmengine.config import ConfigDict
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from torch import Tensor

from ...errors import UserError
from ...tasks import PREDICTION_FIELDS, TASKS, check_task
from ..mask_resize import ImageSize
from .instance import instances
from .panoptic import panoptic_segments
from .semantic import semantic_map, semantic_scores

__all__ = ['PostProcessor', 'complete_test_cfg', 'semantic_prediction']

TEST_CFG = {
    'tasks': TASKS,
    'token': None,
    'object_mask_thr': 0.8,
    'overlap_thr': 0.8,
    'max_per_image': None,
    'mask_format': 'auto',
    'dtype': 'fp32',
}


def complete_test_cfg(test_cfg: Mapping[str, Any] | None, num_queries: int) -> ConfigDict:
    """Return a model's ``test_cfg`` with all keys; ``max_per_image`` is by default the number of queries."""
    completed = ConfigDict(TEST_CFG | dict(test_cfg or {}))
    if completed.max_per_image is None:
        completed.max_per_image = num_queries
    return completed


class PostProcessor:
    """Turns the logits of one image into the prediction of a task.

    Args:
        thing_ids: The classes that are things; all others are stuff.
        test_cfg: Has ``object_mask_thr``, ``overlap_thr``, ``max_per_image`` and ``mask_format``; read at every call.
    """

    def __init__(self, thing_ids: Iterable[int], test_cfg: ConfigDict) -> None:
        self.thing_ids, self.test_cfg = tuple(thing_ids), test_cfg

    def with_options(self, **options: Any) -> 'PostProcessor':
        """Return a post-processor with other thresholds or another mask format; None keeps the present value.

        Raises:
            UserError: There is no such option.
        """
        unknown = sorted(options.keys() - self.test_cfg.keys())
        if unknown:
            raise UserError(f'There is no threshold {", ".join(unknown)}; see test_cfg in docs/configs.md.')
        given = {name: value for name, value in options.items() if value is not None}
        return PostProcessor(self.thing_ids, ConfigDict(self.test_cfg | given))

    def __call__(
        self, task: str, class_logits: Tensor, mask_logits: Tensor, size: ImageSize
    ) -> PixelData | InstanceData:
        """Return the prediction of one task.

        Args:
            task: 'semantic', 'instance' or 'panoptic'.
            class_logits: (N, K+1).
            mask_logits: (N, h, w).
            size: The sizes of the image.

        Returns:
            Maps (1, H, W) as ``sem_seg`` (mmdet) and ``data`` (mmseg), the panoptic one with ``segments_info`` in its
            metainfo; or instances, as :func:`instances` returns them.

        Raises:
            UserError: There is no such task or mask format.
        """
        cfg = self.test_cfg
        if check_task(task) == 'semantic':
            return semantic_prediction(semantic_map(class_logits, mask_logits, size))
        if task == 'instance':
            return instances(class_logits, mask_logits, size, self.thing_ids, cfg.max_per_image, cfg.mask_format)
        ids, segments = panoptic_segments(
            class_logits, mask_logits, size, self.thing_ids, cfg.object_mask_thr, cfg.overlap_thr
        )
        return PixelData(metainfo={'segments_info': segments}, sem_seg=ids[None], data=ids[None])

    def write(
        self, sample: BaseDataElement, task: str, class_logits: Tensor, mask_logits: Tensor, size: ImageSize
    ) -> None:
        """Put the prediction of one task into a data sample: ``pred_sem_seg``, ``_instances`` or ``_panoptic_seg``."""
        setattr(sample, PREDICTION_FIELDS[check_task(task)], self(task, class_logits, mask_logits, size))

    def class_scores(self, class_logits: Tensor, mask_logits: Tensor, size: ImageSize) -> Tensor:
        """Return the score of each class in each pixel (K, H, W), at least 0; the semantic prediction is its argmax."""
        return torch.cat([strip for _, strip in semantic_scores(class_logits, mask_logits, size)], dim=1)


def semantic_prediction(labels: Tensor) -> PixelData:
    """Return a map of classes (H, W) as a prediction."""
    return PixelData(sem_seg=labels[None], data=labels[None])
