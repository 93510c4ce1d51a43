"""Backbones that mmdet has not, the names of all that were published, and the weights that training starts from."""

from . import resnet, swin  # noqa: F401 (of mmdet's there are the entries of names alone)
from .convnext import ConvNeXt
from .dinat import DiNAT
from .initial_weights import BackboneWeights

__all__ = ['BackboneWeights', 'ConvNeXt', 'DiNAT']
