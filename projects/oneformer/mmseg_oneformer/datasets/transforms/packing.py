"""The last step: tensors and a ``DetDataSample``."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet.structures import DetDataSample
from mmengine.registry import TRANSFORMS
from mmengine.structures import InstanceData, PixelData

from ...errors import UserError

__all__ = ['META_KEYS', 'PackOneFormerInputs', 'class_map', 'ignore_index']

META_KEYS = (
    'img_id',
    'img_path',
    'ori_shape',
    'img_shape',
    'scale_factor',
    'flip',
    'flip_direction',
    'task',
    'texts',
    'text_counts',
    'filler',
    'instance_ids_path',
)
"""What goes into the sample's metainfo where the pipeline has made it."""


@TRANSFORMS.register_module()
class PackOneFormerInputs(BaseTransform):
    """Pack the photo as (3, h, w) uint8, BGR, and the rest as a ``DetDataSample``.

    A training sample (after ``TaskTargets``) gets ``gt_instances.labels`` (M,) int64 and ``gt_targets.index_map`` (1,
    h, w) int16. A test sample with annotations gets ``segments_info`` in its metainfo, ``gt_panoptic_seg`` with the
    segment map (1, H, W) int32 and ``gt_sem_seg`` with the class map (1, H, W) int64 that ``LoadSemanticMap`` has read,
    else one derived from the segments. Both are at the size of the photo on disk and under the keys ``sem_seg`` and
    ``data``, which mmdet's and mmseg's tools look for.

    Args:
        meta_keys: Keys of the results that go into the metainfo.
    """

    def __init__(self, meta_keys: Sequence[str] = META_KEYS) -> None:
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: dict) -> dict:
        """``dict(inputs=..., data_samples=...)`` of ``results``."""
        image = np.atleast_3d(results['img'])
        if image.shape[2] == 1:  # A grey array, which the functions of mmdet and mmseg hand on as it is.
            image = np.repeat(image, 3, axis=2)
        sample = DetDataSample(metainfo={key: results[key] for key in self.meta_keys if key in results})
        if 'gt_index_map' in results:
            sample.gt_instances = InstanceData(labels=torch.from_numpy(results['gt_labels']))
            sample.gt_targets = PixelData(index_map=torch.from_numpy(results['gt_index_map'])[None])
        elif results.get('gt_seg_map') is not None:
            _add_truth(sample, results)
        planes = np.empty((image.shape[2], *image.shape[:2]), dtype=image.dtype)
        cv2.split(image, list(planes))  # A tenth of NumPy's time for a transposed copy.
        return {'inputs': torch.from_numpy(planes), 'data_samples': sample}


def _add_truth(sample: DetDataSample, results: Mapping[str, Any]) -> None:
    """Add the ground truth that the metrics read."""
    segment_map, table = results['gt_seg_map'], results['segments_info']
    if segment_map.shape != tuple(results['ori_shape'][:2]):
        raise UserError('Ground truth is judged at the size of the photo: put LoadPanopticIds behind the resizing.')
    sample.set_metainfo({'segments_info': table})
    segments = torch.from_numpy(segment_map.astype(np.int32, copy=False))[None]
    sample.gt_panoptic_seg = PixelData(sem_seg=segments, data=segments)
    sem_map = results.get('gt_sem_map')
    if sem_map is None:
        sem_map = class_map(segment_map, table, ignore_index(len(results['classes'])))
    classes = torch.from_numpy(sem_map)[None]
    sample.gt_sem_seg = PixelData(sem_seg=classes, data=classes)


def class_map(segment_map: np.ndarray, segments_info: Sequence[Mapping[str, Any]], ignore: int) -> np.ndarray:
    """Class index of every pixel (H, W) int64, crowds included, ``ignore`` where the segment map (H, W) is void."""
    return np.array([ignore] + [segment['label'] for segment in segments_info], dtype=np.int64)[segment_map]


def ignore_index(num_classes: int) -> int:
    """Value of void in class maps: 255 as everywhere in OpenMMLab, or past the classes where there are more of them."""
    return 255 if num_classes <= 255 else num_classes + 1
