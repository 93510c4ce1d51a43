"""Typed predictions of one image, and the forms in which other tools take them."""

from .agreement import Agreement, Disagreement
from .predictions import Instances, Panoptic, PanopticSegment
from .result import OneFormerResult
from .writers import PredictionWriter, VideoWriter

__all__ = [
    'Agreement',
    'Disagreement',
    'Instances',
    'OneFormerResult',
    'Panoptic',
    'PanopticSegment',
    'PredictionWriter',
    'VideoWriter',
]
