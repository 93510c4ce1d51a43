"""Layers that several parts of the network share."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..compat import is_exporting
from .ops import apply_linear, linear
from .ops.dropout import attention, dropout, relu_dropout
from .precision import at_least_fp32


class MLP(nn.Module):
    """Linear layers with a ReLU between them."""

    def __init__(self, in_channels: int, channels: int, out_channels: int, num_layers: int) -> None:
        super().__init__()
        widths = [in_channels] + [channels] * (num_layers - 1) + [out_channels]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in_channels) to (..., out_channels)."""
        for layer in self.layers[:-1]:
            x = apply_linear(layer, x, 'relu')
        return self.layers[-1](x)


class Attention(nn.Module):
    """Multi-head attention by PyTorch's fused kernel, with the parameters of ``nn.MultiheadAttention``."""

    def __init__(self, channels: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * channels, channels))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * channels))
        self.out_proj = nn.Linear(channels, channels)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend from (B, Lq, C) to (B, Lk, C).

        Args:
            query: (B, Lq, C).
            key: (B, Lk, C).
            value: (B, Lk, C), or (1, Lk, C) when it is the same for all images.
            mask: (B, Lq, Lk), added to the logits of all heads: 0, or -inf where a query must not attend.

        Returns:
            (B, Lq, C).
        """
        _, *projections = self.projections()
        keys, values = (linear(x, *projection) for x, projection in zip((key, value), projections, strict=True))
        return self.attend(query, keys, values, mask)

    def projections(self) -> list[tuple[Tensor, Tensor]]:
        """Return weight (C, C) and bias (C) of the projections of queries, keys and values."""
        return list(zip(self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3), strict=True))

    def attend(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """Do the same with keys and values that have been projected."""
        queries = linear(query, *self.projections()[0])
        q, k, v = (x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for x in (queries, keys, values))
        if self.training and self.dropout:
            assert mask is None, 'no layer both drops weights and blocks positions'
            out = attention(q, k, v, self.dropout)
        else:
            mask = None if mask is None else mask[:, None]
            if k.device.type == 'cpu' and not is_exporting():
                # A fifth less time than with heads side by side, copies included.
                k, v = k.contiguous(), v.contiguous()
            out = F.scaled_dot_product_attention(q, k, v.expand(k.shape[0], -1, -1, -1), attn_mask=mask)
        out = out.transpose(1, 2)
        if is_exporting():  # Graphs compute attention step by step, whose result lies otherwise in memory.
            out = out.clone(memory_format=torch.contiguous_format)
        return self.out_proj(out.flatten(2))


class DropPath(nn.Module):
    """Stochastic depth: drops a whole branch, independently for each image of a batch.

    mmcv's and timm's do the same, but take longer to import than PyTorch.
    """

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` (B, ...); in training, 0 for some images, and scaled up for the others to keep the mean."""
        if not (self.training and self.drop_prob):
            return x
        share = 1 - self.drop_prob
        kept = torch.rand(x.shape[0], *[1] * (x.dim() - 1), dtype=x.dtype, device=x.device) + share
        return x / share * kept.floor()


class FeedForward(nn.Module):
    """Two linear layers with ReLU and dropout between them, dropout behind them, and a shortcut around all."""

    def __init__(self, channels: int, hidden_channels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.linear1 = nn.Linear(channels, hidden_channels)
        self.linear2 = nn.Linear(hidden_channels, channels)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., C)."""
        if self.training and self.dropout:
            return x + dropout(self.linear2(relu_dropout(self.linear1(x), self.dropout)), self.dropout)
        return apply_linear(self.linear2, apply_linear(self.linear1, x, 'relu'), shortcut=x)


def sine_position_encoding(size: Sequence[int], channels: int, like: Tensor) -> Tensor:
    """Fixed position encoding of a map (DETR): the first half of the channels encodes y, the second x.

    Args:
        size: height and width of the map.
        channels: C, a multiple of 4.
        like: device and dtype are taken from it.

    Returns:
        (C, H, W), in -1..1.
    """
    height, width = size
    y, x = (sine_encoding(length, channels // 2, like) for length in size)
    # Channels come last in memory, as its users need them.
    return torch.cat((y[:, None].expand(-1, width, -1), x.expand(height, -1, -1)), dim=2).permute(2, 0, 1)


def sine_encoding(length: int, channels: int, like: Tensor) -> Tensor:
    """Fixed encoding of the positions along one side of a map.

    Coordinates run from 1 to n, are divided by n + 1e-6 and scaled to 2 pi; even channels are sines, odd ones cosines,
    wavelengths grow geometrically to 10 000.

    Args:
        length: n.
        channels: C, an even number.
        like: device and dtype are taken from it.

    Returns:
        (n, C), in -1..1.
    """
    index = torch.arange(channels, device=like.device, dtype=torch.float32).to(at_least_fp32(like.dtype))
    wavelength = 10000 ** (2 * (index // 2) / channels)
    position = torch.arange(1, length + 1, device=like.device, dtype=wavelength.dtype)
    angle = position[:, None] / (length + 1e-6) * (2 * math.pi) / wavelength
    return torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), dim=2).flatten(1).to(like.dtype)


def xavier_init(module: nn.Module) -> None:
    """Initialise every matrix below ``module`` by Glorot's uniform rule, as DETR and the reference code do."""
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
