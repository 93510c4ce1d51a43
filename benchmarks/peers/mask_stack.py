"""The loader's peer: our training recipe in mmdet's own transforms, which carry a stack of masks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmcv.transforms import Compose
from mmdet.datasets.transforms import LoadAnnotations, LoadPanopticAnnotations, RandomCrop
from mmengine.registry import TRANSFORMS

from mmseg_oneformer.datasets.transforms.crop import RandomShortestEdgeCrop
from mmseg_oneformer.errors import UserError

VOID = 255
"""The value of void in mmdet's class maps."""


class MaskStackAnnotations(LoadPanopticAnnotations):
    """mmdet's loader without panopticapi, from which it takes only the formula of the ids."""

    def __init__(self) -> None:
        LoadAnnotations.__init__(self, with_bbox=True, with_label=True, with_mask=True, with_seg=True)
        self.rgb2id = _rgb2id


class DiagonalCrop(RandomCrop):
    """mmdet's crop at the place that ``FixedSizeCrop`` draws, so that both sides see the same part of a photo."""

    def _rand_offset(self, margin: tuple[int, int]) -> tuple[int, int]:
        fraction = np.random.uniform(0.0, 1.0)
        return int(np.round(margin[0] * fraction)), int(np.round(margin[1] * fraction))


def mask_stack_pipeline(steps: Sequence[Mapping[str, Any]]) -> Compose:
    """Return mmdet's form of a training pipeline, with the same parameters and the same draws.

    As in mmdet's Mask2Former configs, no step pads, which is left to the model, or makes the masks of stuff, which the
    model takes from the class map. Photos stay bytes, which is faster than in those configs.

    Args:
        steps: Our pipeline, ``train_dataloader.dataset.pipeline`` of a config.

    Raises:
        UserError: There is a step without a counterpart in mmdet.
    """
    return Compose([transform for step in steps for transform in _theirs(step)])


def mask_stack_info(info: Mapping[str, Any], segment_map: np.ndarray) -> dict[str, Any]:
    """Return the data info of a photo as mmdet's pipeline reads it.

    Args:
        info: That of ``PanopticDataset``.
        segment_map: (H, W), 0 = void, k = entry k of ``info['segments_info']``; the boxes are taken from it.
    """
    instances, segments = [], []
    for number, segment in enumerate(info['segments_info'], start=1):
        rows, columns = np.nonzero(segment_map == number)
        thing = segment['isthing'] and not segment['iscrowd'] and bool(rows.size)
        if thing:
            box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            instances.append({'bbox': [float(x) for x in box], 'bbox_label': segment['label'], 'ignore_flag': 0})
        segments.append({'id': segment['id'], 'category': segment['label'], 'is_thing': thing})
    kept = {key: info[key] for key in ('img_id', 'img_path', 'seg_map_path')}
    return {**kept, 'instances': instances, 'segments_info': segments}


def _theirs(step: Mapping[str, Any]) -> list[Any]:
    name, options = step['type'], {key: value for key, value in step.items() if key != 'type'}
    crop = {'crop_type': 'absolute', 'recompute_bbox': True, 'allow_negative_crop': True}
    resize = {'resize_type': 'mmdet.Resize', 'keep_ratio': True}
    if name == 'ResizeAndCrop':
        return _theirs(options['resize']) + _theirs(options['crop'])
    if name == 'RandomShortestEdgeCrop':
        ours = RandomShortestEdgeCrop(**options)
        sizes = {'sizes': ours.resize.sizes, 'max_size': ours.resize.max_size}
        return _theirs({'type': 'RandomShortestEdge', **sizes}) + _theirs(
            {'type': 'RandomPanopticCrop', 'size': ours.crop.size}
        )
    if name in ('TaskTargets', 'SampleTask', 'DescribeTargets', 'PadTo'):
        return []
    if name == 'LoadPanopticIds':
        return [MaskStackAnnotations()]
    if name == 'FixedSizeCrop':
        return [DiagonalCrop(crop_size=_wide(options['size']), **crop)]
    configs = {
        'LoadPhoto': lambda: {'type': 'LoadImageFromFile'},
        'RandomHorizontalFlip': lambda: {'type': 'mmdet.RandomFlip', 'prob': float(options.get('prob', 0.5))},
        'RandomColorDistortion': lambda: {'type': 'mmseg.PhotoMetricDistortion'},
        'RandomScaleResize': lambda: {
            'type': 'RandomResize',
            'scale': _wide(options['size']),
            'ratio_range': tuple(options['scale']),
            **resize,
        },
        'RandomShortestEdge': lambda: {
            'type': 'RandomChoiceResize',
            'scales': [(options['max_size'], int(size)) for size in options['sizes']],
            **resize,
        },
        'RandomPanopticCrop': lambda: {'type': 'mmdet.RandomCrop', 'crop_size': _wide(options['size']), **crop},
        'PackOneFormerInputs': lambda: {'type': 'mmdet.PackDetInputs'},
    }
    if name not in configs:
        raise UserError(f'the mask-stack pipeline does not support {name}; give --data a config with the usual steps.')
    return [TRANSFORMS.build(configs[name]())]


def _wide(size: Sequence[int]) -> tuple[int, int]:
    """Return (height, width) as mmdet's (width, height)."""
    return int(size[1]), int(size[0])


def _rgb2id(rgb: np.ndarray) -> np.ndarray:
    """Return COCO's ids (H, W) of a PNG (H, W, 3)."""
    red, green, blue = np.moveaxis(rgb.astype(np.int32), -1, 0)
    return red + 256 * green + 65536 * blue
