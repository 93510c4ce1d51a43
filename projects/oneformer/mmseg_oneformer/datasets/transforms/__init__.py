"""From a photo and its PNG to a sample: load ids, resize, crop, flip, draw a task, targets, texts, pack."""

from .color import RandomColorDistortion
from .crop import FixedSizeCrop, PadTo, RandomPanopticCrop, RandomShortestEdgeCrop, ResizeAndCrop
from .flip import RandomHorizontalFlip
from .loading import LoadPanopticIds
from .packing import PackOneFormerInputs
from .resize import RandomScaleResize, RandomShortestEdge, ShortestEdge
from .semantic_map import LoadSemanticMap
from .targets import SampleTask, TargetMasks, TaskTargets, target_masks
from .texts import DescribeTargets

__all__ = [
    'DescribeTargets',
    'FixedSizeCrop',
    'LoadPanopticIds',
    'LoadSemanticMap',
    'PackOneFormerInputs',
    'PadTo',
    'RandomColorDistortion',
    'RandomHorizontalFlip',
    'RandomPanopticCrop',
    'RandomScaleResize',
    'RandomShortestEdge',
    'RandomShortestEdgeCrop',
    'ResizeAndCrop',
    'SampleTask',
    'ShortestEdge',
    'TargetMasks',
    'TaskTargets',
    'target_masks',
]
