"""Data sets of each kind and their mix, the transforms that make training samples, and the order they come in."""

from .ade20k import Ade20kPanoptic
from .cityscapes import CityscapesPanoptic
from .coco import CocoPanoptic
from .instances import InstanceDataset
from .mapillary import MapillaryPanoptic
from .mixed import MixedDataset
from .panoptic import PanopticDataset
from .samplers import PassSampler
from .semantic import SemanticDataset
from .shapes import ShapesPanoptic
from .transforms import (
    DescribeTargets,
    FixedSizeCrop,
    LoadPanopticIds,
    LoadSemanticMap,
    PackOneFormerInputs,
    PadTo,
    RandomColorDistortion,
    RandomHorizontalFlip,
    RandomPanopticCrop,
    RandomScaleResize,
    RandomShortestEdge,
    RandomShortestEdgeCrop,
    ResizeAndCrop,
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
    'InstanceDataset',
    'LoadPanopticIds',
    'LoadSemanticMap',
    'MapillaryPanoptic',
    'MixedDataset',
    'PackOneFormerInputs',
    'PadTo',
    'PanopticDataset',
    'PassSampler',
    'RandomColorDistortion',
    'RandomHorizontalFlip',
    'RandomPanopticCrop',
    'RandomScaleResize',
    'RandomShortestEdge',
    'RandomShortestEdgeCrop',
    'ResizeAndCrop',
    'SampleTask',
    'SemanticDataset',
    'ShapesPanoptic',
    'ShortestEdge',
    'TargetMasks',
    'TaskTargets',
    'target_masks',
]
