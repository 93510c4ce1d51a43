"""Pixel decoder: deformable attention over three levels and one FPN step up to stride 4 (Mask2Former, paper §3.1)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..errors import UserError
from .activation_checkpointing import run_layer
from .layers import FeedForward, sine_position_encoding, xavier_init
from .ops import MSDeformAttn, PointwiseConv
from .ops.dropout import Dropout
from .ops.ms_deform_attn import Shapes
from .precision import at_least_fp32


class PixelDecoderLayer(nn.Module):
    """Deformable self-attention and feed-forward, post-norm."""

    def __init__(self, channels: int, num_heads: int, ffn_channels: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = MSDeformAttn(channels, num_heads)
        self.norm1 = nn.LayerNorm(channels)
        self.ffn = FeedForward(channels, ffn_channels, dropout)
        self.norm2 = nn.LayerNorm(channels)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, position: Tensor, reference: Tensor, shapes: Shapes) -> Tensor:
        """Refine the flattened levels (B, S, C); ``position`` (1, S, C), ``reference`` (S, 2)."""
        x = self.norm1(x + self.dropout(self.self_attn(x + position, x, reference, shapes)))
        return self.norm2(self.ffn(x))


@MODELS.register_module()
class OneFormerPixelDecoder(BaseModule):
    """Refined features at strides 32, 16, 8 and mask features at stride 4.

    Dropout is 0.1, as the published models were trained; Mask2Former and mmdet use 0.

    Args:
        in_channels: widths of the backbone's levels at strides 4, 8, 16, 32.
        channels: C of all outputs; a multiple of 32 (group norm) and of ``num_heads``.
        num_layers: deformable layers.
        with_cp: activation checkpointing of each layer and of the step to stride 4.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int = 256,
        num_layers: int = 6,
        num_heads: int = 8,
        ffn_channels: int = 1024,
        dropout: float = 0.1,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if len(in_channels) != 4:
            raise UserError(
                f'the pixel decoder needs a backbone with 4 levels (strides 4 to 32), got {len(in_channels)}'
            )
        self.with_cp = with_cp
        self.in_channels = tuple(in_channels)
        stride4, *others = in_channels
        self.input_proj = nn.ModuleList(
            nn.Sequential(PointwiseConv(width, channels), nn.GroupNorm(32, channels)) for width in reversed(others)
        )
        self.level_embed = nn.Parameter(torch.zeros(3, channels))
        self.layers = nn.ModuleList(
            PixelDecoderLayer(channels, num_heads, ffn_channels, dropout) for _ in range(num_layers)
        )
        self.lateral = nn.Sequential(PointwiseConv(stride4, channels, bias=False), nn.GroupNorm(32, channels))
        self.output = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.GroupNorm(32, channels), nn.ReLU()
        )
        self.mask_features = PointwiseConv(channels, channels)

    def init_weights(self) -> None:
        """Initialise as the reference code does (Glorot in the transformer, He in the convolutions)."""
        super().init_weights()
        nn.init.normal_(self.level_embed)
        xavier_init(self.layers)
        for module in self.modules():
            if isinstance(module, MSDeformAttn):
                module.init_weights()
            elif isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.input_proj.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Decode four backbone levels.

        Args:
            features: (B, C_i, H/s, W/s) for strides s = 4, 8, 16, 32.

        Returns:
            Mask features (B, C, H/4, W/4) and the levels (B, C, H/s, W/s) for s = 32, 16, 8.
        """
        stride4, *others = features
        levels = [project(level) for project, level in zip(self.input_proj, reversed(others), strict=True)]
        shapes = [(level.shape[2], level.shape[3]) for level in levels]
        position = torch.cat(
            [
                sine_position_encoding(shape, level.shape[1], level).flatten(1).T + embed
                for shape, level, embed in zip(shapes, levels, self.level_embed, strict=True)
            ]
        )[None]
        reference = torch.cat([pixel_centres(shape, position) for shape in shapes])
        x = torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1)  # (B, S, C)
        for layer in self.layers:
            x = run_layer(self.with_cp, layer, x, position, reference, shapes)
        memory = [
            level.unflatten(1, shape).permute(0, 3, 1, 2)  # in this order, or PyTorch misses that channels come last
            for level, shape in zip(x.split([h * w for h, w in shapes], dim=1), shapes, strict=True)
        ]
        return run_layer(self.with_cp, self.to_stride4, stride4, memory[-1]), memory

    def to_stride4(self, stride4: Tensor, stride8: Tensor) -> Tensor:
        """Mask features (B, C, H/4, W/4) from the backbone's first level and the refined level at stride 8."""
        lateral = self.lateral(stride4)
        up = F.interpolate(stride8, size=lateral.shape[-2:], mode='bilinear', align_corners=False)
        return self.mask_features(self.output(lateral + up))


def pixel_centres(shape: tuple[int, int], like: Tensor) -> Tensor:
    """Centres (x, y) of a map's positions in 0..1: (h*w, 2), row by row, at least fp32."""
    height, width = shape
    dtype = at_least_fp32(like.dtype)
    y = (torch.arange(height, device=like.device, dtype=dtype) + 0.5) / height
    x = (torch.arange(width, device=like.device, dtype=dtype) + 0.5) / width
    return torch.stack((x.expand(height, -1), y[:, None].expand(-1, width)), dim=-1).flatten(0, 1)
