"""Multi-scale deformable attention (Zhu et al., Deformable DETR): a few sampled points per query, not all pixels.

Decisions:
* Shapes are Python ints: shapes in tensors cost a device sync per layer and break graphs.
* Sampling locations stay fp32 under autocast; bf16 coordinates are off by up to a pixel at 256.
* The device of the *tensor* decides. On a CPU our own operator (``ms_deform_attn_cpu``) runs. On a GPU mmcv's compiled
  one, if installed, for fp32 outside ``torch.compile``; otherwise ours in Triton (``ms_deform_attn_triton``), which
  also takes fp16 and bf16. The plain form runs on other devices, for training with deterministic algorithms on a GPU,
  and in exported graphs, which cannot contain our operator.
* Our operator is one node for autograd, ``torch.compile`` and the profiler: its gradients are written by hand.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...compat import HAS_TRITON, compiled_ms_deform_attn, is_exporting
from ...errors import MissingPackageError
from ..precision import at_least_fp32, no_autocast
from . import ms_deform_attn_cpu
from .linear import Linear, linear

Shapes = Sequence[tuple[int, int]]

TRITON_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def ms_deform_attn_plain(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    """Sample each level with ``grid_sample``; runs on any device and differentiates everywhere."""
    batch, _, heads, depth = value.shape
    queries = locations.shape[1]
    grids = (2 * locations - 1).permute(0, 2, 3, 1, 4, 5).flatten(0, 1)  # (B*heads, levels, Q, points, 2)
    maps = value.permute(0, 2, 3, 1).flatten(0, 1)  # (B*heads, depth, S)
    sampled = []
    for level, level_map in enumerate(maps.split([h * w for h, w in shapes], dim=2)):
        level_map = level_map.unflatten(2, shapes[level])
        sampled.append(F.grid_sample(level_map, grids[:, level], padding_mode='zeros', align_corners=False))
    weights = weights.transpose(1, 2).flatten(3).flatten(0, 1)[:, None]  # (B*heads, 1, Q, levels*points)
    out = (torch.cat(sampled, dim=3) * weights).sum(dim=3)  # (B*heads, depth, Q)
    return out.view(batch, heads * depth, queries).transpose(1, 2)


@torch.library.custom_op('mmseg_oneformer::ms_deform_attn', mutates_args=(), device_types='cpu')
def _operator(value: Tensor, sizes: Sequence[int], locations: Tensor, weights: Tensor) -> Tensor:
    return ms_deform_attn_cpu.forward(value, sizes, locations, weights)


@torch.library.custom_op('mmseg_oneformer::ms_deform_attn_backward', mutates_args=(), device_types='cpu')
def _backward_operator(
    grad: Tensor, value: Tensor, sizes: Sequence[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return ms_deform_attn_cpu.backward(grad, value, sizes, locations, weights)


@_operator.register_kernel('cuda')
def _(value: Tensor, sizes: Sequence[int], locations: Tensor, weights: Tensor) -> Tensor:
    from . import ms_deform_attn_triton  # PyTorch's CPU builds come without Triton.

    return ms_deform_attn_triton.forward(value, sizes, locations, weights)


@_backward_operator.register_kernel('cuda')
def _(
    grad: Tensor, value: Tensor, sizes: Sequence[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    from . import ms_deform_attn_triton

    return ms_deform_attn_triton.backward(grad, value, sizes, locations, weights)


@_operator.register_fake
def _(value: Tensor, sizes: Sequence[int], locations: Tensor, weights: Tensor) -> Tensor:
    return value.new_empty((*locations.shape[:2], value.shape[2] * value.shape[3]))


@_backward_operator.register_fake
def _(
    grad: Tensor, value: Tensor, sizes: Sequence[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    value, locations, weights = (
        torch.empty_like(x, memory_format=torch.contiguous_format) for x in (value, locations, weights)
    )
    return value, locations, weights


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    value, ctx.sizes, locations, weights = inputs
    ctx.save_for_backward(value, locations, weights)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    value, locations, weights = ctx.saved_tensors
    grad_value, grad_locations, grad_weights = _backward_operator(grad, value, ctx.sizes, locations, weights)
    return grad_value, None, grad_locations, grad_weights


_operator.register_autograd(_differentiate, setup_context=_keep)


def ms_deform_attn_own(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    """The same with our own operator: on a CPU in fp32 or fp64, on a GPU with Triton in ``TRITON_DTYPES``."""
    flat = [length for shape in shapes for length in shape]
    return _operator(value, flat, locations.movedim(-1, 2).flatten(3).contiguous(), weights.flatten(2))


def ms_deform_attn_mmcv(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    """The same with mmcv's compiled operator, if installed: on a GPU, in fp32."""
    compiled = compiled_ms_deform_attn()
    if compiled is None:
        raise MissingPackageError('mmcv has no compiled operators; install a build of mmcv with them, not mmcv-lite.')
    sizes = torch.tensor(shapes).to(value.device, non_blocking=True)
    starts = torch.cat((sizes.new_zeros(1), sizes.prod(1).cumsum(0)[:-1]))
    return compiled.apply(value.contiguous(), sizes, starts, locations.contiguous(), weights.contiguous(), 64)


def ms_deform_attn(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of values at sampled locations.

    Args:
        value: (B, S, heads, depth), the levels one after another, S = sum of h*w; may be fp16 or bf16.
        shapes: (h, w) of every level.
        locations: fp32 or fp64 (B, Q, heads, levels, points, 2) as (x, y), 0..1 over the level; values outside are 0.
            Fastest if it is a view of (B, Q, 2, heads, levels, points).
        weights: (B, Q, heads, levels, points), of the locations' dtype, sum 1 over levels and points.

    Returns:
        (B, Q, heads * depth), of ``value``'s dtype.
    """
    by_triton = _triton_fits(value, locations, weights)
    exact = value if by_triton else value.to(locations.dtype)
    if by_triton or _cpu_fits(exact):
        out = ms_deform_attn_own(exact, shapes, locations, weights)
    elif _mmcv_fits(exact):
        out = ms_deform_attn_mmcv(exact, shapes, locations, weights)
    else:
        out = ms_deform_attn_plain(exact, shapes, locations, weights)
    return out.to(value.dtype)


def _cpu_fits(value: Tensor) -> bool:
    """Return whether the CPU's operator is the one to use."""
    if is_exporting():  # First: a branch on dynamic sizes would tie the graph to one outcome.
        return False
    exact = value.dtype in (torch.float32, torch.float64)
    return value.device.type == 'cpu' and exact and value.shape[1] < ms_deform_attn_cpu.MAX_TOKENS


def _triton_fits(value: Tensor, locations: Tensor, weights: Tensor) -> bool:
    """Return whether the operator in Triton is the one to use."""
    if not value.is_cuda or not HAS_TRITON or value.dtype not in TRITON_DTYPES or is_exporting():
        return False
    trained = torch.is_grad_enabled() and any(x.requires_grad for x in (value, locations, weights))
    return not (trained and torch.are_deterministic_algorithms_enabled()) and not _mmcv_fits(value)


def _mmcv_fits(value: Tensor) -> bool:
    """Return whether mmcv's compiled operator is the one to use; it breaks the graphs of ``torch.compile``."""
    if not value.is_cuda or value.dtype != torch.float32 or torch.compiler.is_compiling() or is_exporting():
        return False
    return compiled_ms_deform_attn() is not None


class MSDeformAttn(nn.Module):
    """Self-attention over all levels with 4 points per head and level; the points start as in Deformable DETR."""

    def __init__(self, channels: int, num_heads: int, num_levels: int = 3, num_points: int = 4) -> None:
        super().__init__()
        self.num_heads, self.num_levels, self.num_points = num_heads, num_levels, num_points
        self.sampling_offsets = Linear(channels, num_heads * num_levels * num_points * 2)
        self.attention_weights = Linear(channels, num_heads * num_levels * num_points)
        self.value_proj = Linear(channels, channels)
        self.output_proj = Linear(channels, channels)

    def init_weights(self) -> None:
        """Zero offsets and weights; offset biases point outwards: one direction per head, one step more per point."""
        angles = torch.arange(self.num_heads, dtype=torch.float32) * (2 * math.pi / self.num_heads)
        directions = torch.stack((angles.cos(), angles.sin()), dim=1)
        directions = directions / directions.abs().max(dim=1, keepdim=True).values
        steps = torch.arange(1, self.num_points + 1, dtype=torch.float32)
        bias = directions[:, None, None] * steps[None, None, :, None]  # (heads, 1, points, 2)
        nn.init.zeros_(self.sampling_offsets.weight)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(bias.expand(-1, self.num_levels, -1, -1).reshape(-1))
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for projection in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(self, query: Tensor, value: Tensor, reference: Tensor, shapes: Shapes) -> Tensor:
        """Attend from every position of the levels to sampled points of all levels.

        Args:
            query: (B, S, C), features plus position.
            value: (B, S, C), features.
            reference: (S, 2), centre (x, y) of every position, 0..1.
            shapes: (h, w) of every level.

        Returns:
            (B, S, C).
        """
        value = self.value_proj(value).unflatten(2, (self.num_heads, -1))
        by_point = (self.num_heads, self.num_levels, self.num_points)
        with no_autocast(query):
            exact = at_least_fp32(self.sampling_offsets.weight.dtype)
            # All x of a query before all y, as the CPU's operator reads them: long rows of the same coordinate.
            weight = self.sampling_offsets.weight.to(exact).unflatten(0, (-1, 2)).transpose(0, 1).flatten(0, 1)
            bias = self.sampling_offsets.bias.to(exact).unflatten(0, (-1, 2)).T.flatten()
            offsets = linear(query.to(exact), weight, bias).unflatten(2, (2, *by_point))
            scale = torch.tensor([[w for _, w in shapes], [h for h, _ in shapes]], dtype=exact)  # (2, levels)
            scale = scale.to(query.device, non_blocking=True)  # a blocking copy would wait for the GPU in every layer
            # Written out, as CPUs broadcast over the 4 points of a level one by one.
            scale = scale[:, None, :, None].expand(2, *by_point).contiguous()
            locations = (offsets / scale + reference[:, :, None, None, None].to(exact)).movedim(2, -1)
        logits = self.attention_weights(query).unflatten(2, (self.num_heads, -1))
        # On CPUs 10 times as fast as along a last axis of 12, including moving the axis there and back.
        # A clone, since contiguous() tests whether the batch is one image and ties exported graphs to the result.
        moved = logits.transpose(0, 3).clone(memory_format=torch.contiguous_format)
        weights = moved.softmax(0).transpose(0, 3).unflatten(3, by_point[1:])
        with no_autocast(query):
            out = ms_deform_attn(value, shapes, locations, weights.to(exact))
        return self.output_proj(out.to(query.dtype))
