"""Quirks of library versions, at run time; what is done at import is in ``startup``.

``mmengine``, ``mmcv``, ``mmdet`` and ``mmseg`` may be the official wheels or the maintained ``onedl-*`` forks, which
have the same import names.
"""

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import torch

from .startup import has_compiled_operators

HAS_TRITON = importlib.util.find_spec('triton') is not None
"""Triton comes with PyTorch's builds for GPUs."""


def is_exporting() -> bool:
    """Return whether a graph is being exported; torch 2.6 says so of the older ONNX exporter only."""
    exporting = hasattr(torch.compiler, 'is_exporting') and torch.compiler.is_exporting()
    return exporting or torch.onnx.is_in_onnx_export()


@lru_cache
def compiled_ms_deform_attn() -> Any | None:
    """Return mmcv's autograd function of multi-scale deformable attention, or None where mmcv has no compiled ones."""
    if not has_compiled_operators():
        return None
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

    return MultiScaleDeformableAttnFunction


class NattenOperators(NamedTuple):
    """Both halves of natten's neighbourhood attention; maps are (B, heads, H, W, D)."""

    query_key: Callable[..., Any]
    """(query, key, rpb, kernel_size, dilation) -> logits (B, heads, H, W, K*K)."""
    weights_value: Callable[..., Any]
    """(weights, value, kernel_size, dilation) -> (B, heads, H, W, D)."""


@lru_cache
def natten_operators() -> NattenOperators | None:
    """Return natten's operators, or None where it is not installed or has none with relative position biases.

    0.14 and 0.15 have ``natten2dqkrpb``; 0.17 has ``na2d_qk`` and warns at each call of the old name; 0.20 has neither.
    """
    if importlib.util.find_spec('natten') is None:
        return None
    try:
        functional = importlib.import_module('natten.functional')
    except (ImportError, OSError, RuntimeError) as error:  # Built for another torch, or without its library.
        warnings.warn(f'natten is installed, does not load and is not used: {error}', stacklevel=2)
        return None
    if hasattr(functional, 'natten2dqkrpb') and hasattr(functional, 'na2d_qk'):
        return NattenOperators(
            lambda query, key, rpb, kernel_size, dilation: functional.na2d_qk(
                query, key, kernel_size, dilation, rpb=rpb
            ),
            functional.na2d_av,
        )
    if hasattr(functional, 'natten2dqkrpb'):
        return NattenOperators(functional.natten2dqkrpb, functional.natten2dav)
    return None
