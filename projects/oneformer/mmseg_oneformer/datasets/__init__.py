"""Data: panoptic data sets, the transforms that make training samples of them, and the order they come in."""

from .coco import CocoPanoptic
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
    TaskTargets,
    target_masks,
)

__all__ = [
    'CocoPanoptic',
    'DescribeTargets',
    'FixedSizeCrop',
    'LoadPanopticIds',
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
    'TaskTargets',
    'target_masks',
]
