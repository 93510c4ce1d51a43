"""The annotations of a test sample, as the metrics need them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor


class PanopticTruth(NamedTuple):
    """Panoptic annotation of one image.

    Attributes:
        index_map: (H, W) int32 at original size; 0 is void, k the k-th entry (from 1) of ``segments``.
        segments: One dict a segment: ``id`` (that of the JSON), ``label`` (class index), ``isthing``, ``iscrowd``.
    """

    index_map: np.ndarray
    segments: list[dict]


def describe(sample: Mapping[str, Any]) -> str:
    """Return the words by which an error names an image."""
    return str(sample.get('img_path') or sample.get('img_id', '<unknown image>'))


def panoptic_truth(sample: Mapping[str, Any]) -> PanopticTruth:
    """Return the panoptic annotation of a data sample in its dict form.

    Raises:
        ValueError: The sample carries no annotation, so nothing can be measured on it.
    """
    if 'gt_panoptic_seg' not in sample or 'segments_info' not in sample:
        raise ValueError(
            f'{describe(sample)} has no panoptic annotation to compare with; put LoadPanopticIds into the test '
            'pipeline and name the annotation file of this split in test_dataloader.dataset.ann_file.'
        )
    return PanopticTruth(to_map(sample['gt_panoptic_seg']['sem_seg']), list(sample['segments_info']))


def to_map(values: Tensor | np.ndarray) -> np.ndarray:
    """Return a map (1, H, W) or (H, W), on any device, as an array (H, W)."""
    array = values.cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    return array.reshape(array.shape[-2:])
