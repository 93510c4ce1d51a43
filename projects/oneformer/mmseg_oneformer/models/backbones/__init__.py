"""Backbones that mmdet has not, and the published ImageNet weights that training starts from."""

from .convnext import ConvNeXt
from .dinat import DiNAT
from .initial_weights import BackboneWeights

__all__ = ['BackboneWeights', 'ConvNeXt', 'DiNAT']
