"""Data: panoptic data sets, the transforms that make training samples of them, and the order they come in."""

from .ade20k import Ade20kPanoptic
from .cityscapes import CityscapesPanoptic
from .coco import CocoPanoptic
from .mapillary import MapillaryPanoptic
from .panoptic import PanopticDataset
from .samplers import PassSampler
from .shapes import ShapesPanoptic
from .transforms import (
    DescribeTargets,
    FixedSizeCrop,
    LoadPanopticIds,
    PackOneFormerInputs,
    PadTo,
    RandomPanopticCrop,
    RandomScaleResize,
    RandomShortestEdge,
    SampleTask,
    ShortestEdge,
    TargetMasks,
    TaskTargets,
    target_masks,
)

__all__ = [
    'Ade20kPanoptic',
    'CityscapesPanoptic',
    'CocoPanoptic',
    'DescribeTargets',
    'FixedSizeCrop',
    'LoadPanopticIds',
    'MapillaryPanoptic',
    'PackOneFormerInputs',
    'PadTo',
    'PanopticDataset',
    'PassSampler',
    'RandomPanopticCrop',
    'RandomScaleResize',
    'RandomShortestEdge',
    'SampleTask',
    'ShapesPanoptic',
    'ShortestEdge',
    'TargetMasks',
    'TaskTargets',
    'target_masks',
]
