"""Typed answers of one image, and the forms in which other tools take them."""

from .agreement import Agreement, Disagreement
from .answers import Instances, Panoptic, PanopticSegment
from .result import OneFormerResult
from .video_writer import VideoWriter
from .writer import AnswerWriter

__all__ = [
    'Agreement',
    'AnswerWriter',
    'Disagreement',
    'Instances',
    'OneFormerResult',
    'Panoptic',
    'PanopticSegment',
    'VideoWriter',
]
