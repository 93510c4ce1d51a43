"""Operators without a kernel of their own in PyTorch."""

from .linear import PointwiseConv, apply_linear, linear, use_fast_linear
from .ms_deform_attn import MSDeformAttn, ms_deform_attn
from .neighborhood_attention import neighborhood_attention

__all__ = [
    'MSDeformAttn',
    'PointwiseConv',
    'apply_linear',
    'linear',
    'ms_deform_attn',
    'neighborhood_attention',
    'use_fast_linear',
]
