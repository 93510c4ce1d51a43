"""Typed answers of one image, and the forms in which other tools take them."""

from .agreement import Agreement, Disagreement
from .result import Instances, OneFormerResult, Panoptic, PanopticSegment
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
