"""Training batches of drawn segments, packed by the transforms of the training pipelines."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import TRANSFORMS

from mmseg_oneformer.errors import UserError

from .models import Setting, class_names

OURS = ('TaskTargets', 'DescribeTargets', 'PackOneFormerInputs')
"""Transforms from a segment map to targets and texts."""


def training_batch(cfg: Config, setting: Setting, steps: Sequence[str] = OURS) -> dict[str, list[Any]]:
    """Return a batch as the loader would, for the panoptic task, the same each time.

    Args:
        cfg: Config of our model: classes and things.
        setting: Size, batch, and the number of segments in each image.
        steps: Transforms after the augmentation.

    Returns:
        ``inputs``, images (3, H, W) uint8, and ``data_samples``.
    """
    number = cfg.model.head.num_classes
    classes, thing_ids = class_names(cfg), tuple(cfg.model.thing_ids)
    transforms = [TRANSFORMS.build({'type': step}) for step in steps]
    batch: dict[str, list[Any]] = {'inputs': [], 'data_samples': []}
    for seed in range(setting.batch):
        random = np.random.default_rng(seed)
        labels = random.integers(number, size=setting.segments)
        results: dict[str, Any] = {
            'img': random.integers(256, size=(*setting.size, 3), dtype=np.uint8),
            'img_shape': setting.size,
            'ori_shape': setting.size,
            'gt_seg_map': segment_map(setting.size, setting.segments, random),
            'segments_info': [
                {'id': place, 'label': int(label), 'isthing': int(label) in thing_ids, 'iscrowd': False}
                for place, label in enumerate(labels, start=1)
            ],
            'task': 'panoptic',
            'classes': classes,
            'thing_ids': thing_ids,
        }
        for transform in transforms:
            results = transform(results)
        for key, values in batch.items():
            values.append(results[key])
    return batch


def segment_map(size: tuple[int, int], number: int, random: np.random.Generator) -> np.ndarray:
    """Return a map (H, W) int32 of segments 1..number: the parts nearest to each of ``number`` random 4 x 4 cells.

    Raises:
        UserError: There are fewer cells than segments.
    """
    height, width = -(-size[0] // 4), -(-size[1] // 4)
    if number > height * width:
        raise UserError(f'--segments is {number}, but {size[0]}x{size[1]} pixels have room for {height * width}.')
    cells = torch.arange(height * width)
    positions = torch.stack((cells // width, cells % width), 1).float()
    centres = positions[torch.from_numpy(random.permutation(height * width)[:number])]
    nearest = torch.cat([torch.cdist(part, centres).argmin(1) for part in positions.split(4096)])
    coarse = (nearest.view(height, width) + 1).int().numpy()
    return np.ascontiguousarray(coarse.repeat(4, 0).repeat(4, 1)[: size[0], : size[1]])


def to_device(batch: Mapping[str, list[Any]], device: str) -> dict[str, list[Any]]:
    """Return the batch on a device, so that the copy is not part of a step."""
    return {key: [value.to(device) for value in values] for key, values in batch.items()}
