"""Answers under the names that mmdet and mmseg know."""

from collections.abc import Sequence
from typing import Any

from mmengine.structures import BaseDataElement, PixelData
from torch import Tensor

from ...tasks import check_task
from ..mask_resize import ImageSize
from .instance import instances
from .panoptic import panoptic_segments
from .semantic import semantic_map

__all__ = ['to_data_sample']


def to_data_sample(
    sample: BaseDataElement,
    task: str,
    class_logits: Tensor,
    mask_logits: Tensor,
    size: ImageSize,
    thing_ids: Sequence[int],
    test_cfg: Any,
) -> None:
    """Write the answer of one task into ``sample``, under the names of both mmdet and mmseg.

    Args:
        sample: A ``DetDataSample``; gets ``pred_sem_seg``, ``pred_instances`` or ``pred_panoptic_seg`` (whose metainfo
            has ``segments_info``). Maps are stored as ``sem_seg`` (mmdet) and ``data`` (mmseg), (1, H, W).
        task: 'semantic', 'instance' or 'panoptic'.
        class_logits: (N, K+1).
        mask_logits: (N, h, w).
        size: The sizes of the image.
        thing_ids: The classes that are things.
        test_cfg: Has ``object_mask_thr``, ``overlap_thr``, ``max_per_image`` and ``mask_format``.

    Raises:
        ValueError: If there is no such task or mask format.
    """
    check_task(task)
    if task == 'semantic':
        labels = semantic_map(class_logits, mask_logits, size)[None]
        sample.pred_sem_seg = PixelData(sem_seg=labels, data=labels)
    elif task == 'instance':
        sample.pred_instances = instances(
            class_logits, mask_logits, size, thing_ids, test_cfg.max_per_image, test_cfg.mask_format
        )
    else:
        ids, segments = panoptic_segments(
            class_logits, mask_logits, size, thing_ids, test_cfg.object_mask_thr, test_cfg.overlap_thr
        )
        sample.pred_panoptic_seg = PixelData(metainfo={'segments_info': segments}, sem_seg=ids[None], data=ids[None])
