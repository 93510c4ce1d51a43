"""Models that OneFormer is compared with, on the same data and with the same kinds of predictions."""

from .mask2former import Mask2FormerBaseline

__all__ = ['Mask2FormerBaseline']
