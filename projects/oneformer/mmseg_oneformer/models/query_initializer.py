"""Task-conditioned object queries (paper §3.2)."""

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..errors import UserError
from .activation_checkpointing import run_layer
from .layers import Attention, FeedForward, sine_encoding, xavier_init
from .ops import linear
from .ops.dropout import Dropout
from .precision import no_autocast


class QueryInitializerLayer(nn.Module):
    """Self-attention, cross-attention, feed-forward, post-norm (DETR)."""

    def __init__(self, channels: int, num_heads: int, ffn_channels: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = Attention(channels, num_heads, dropout)
        self.cross_attn = Attention(channels, num_heads, dropout)
        self.ffn = FeedForward(channels, ffn_channels, dropout)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.norm3 = nn.LayerNorm(channels)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, query_pos: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Update x (B, T, N, C) by attention to projected ``keys`` (B, S, C) and ``values`` (B or 1, S, C)."""
        q = (x + query_pos).flatten(0, 1)
        x = self.norm1(x + self.dropout(self.self_attn(q, q, x.flatten(0, 1)).view_as(x)))
        q = (x + query_pos).flatten(1, 2)
        x = self.norm2(x + self.dropout(self.cross_attn.attend(q, keys, values).view_as(x)))
        return self.norm3(self.ffn(x))


@MODELS.register_module()
class QueryInitializer(BaseModule):
    """Copies of the task token attend to the image once, before the main decoder.

    As in the reference code, the cross-attention *values* are the position encoding, and image content enters through
    the keys only; ``values='features'`` follows the paper. Published weights need the default.

    Args:
        channels: C.
        values: what the queries gather, ``'position'`` or ``'features'``.
        start: what the first N-1 queries start from, the ``'task'`` token or ``'zeros'`` (paper, Table 4).
        with_cp: activation checkpointing of each layer.
    """

    def __init__(
        self,
        channels: int = 256,
        num_layers: int = 2,
        num_heads: int = 8,
        ffn_channels: int = 2048,
        dropout: float = 0.1,
        values: Literal['position', 'features'] = 'position',
        start: Literal['task', 'zeros'] = 'task',
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if values not in ('position', 'features'):
            raise UserError(f"query_initializer.values is 'position' (reference) or 'features' (paper), not {values!r}")
        if start not in ('task', 'zeros'):
            raise UserError(f"query_initializer.start is 'task' or 'zeros', not {start!r}")
        self.values, self.start, self.with_cp = values, start, with_cp
        self.input_proj = nn.Conv2d(channels, channels, 1)
        self.layers = nn.ModuleList(
            QueryInitializerLayer(channels, num_heads, ffn_channels, dropout) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(channels)

    def init_weights(self) -> None:
        """Initialise as the reference code does."""
        super().init_weights()
        xavier_init(self.layers)
        nn.init.kaiming_uniform_(self.input_proj.weight, a=1)
        if self.input_proj.bias is not None:
            nn.init.zeros_(self.input_proj.bias)

    def forward(self, start: Tensor, query_pos: Tensor, mask_features: Tensor) -> Tensor:
        """Return initial object queries (B, T, N-1, C).

        Args:
            start: (B, T, N-1, C), copies of the task token (or learned queries, when the model has no token).
            query_pos: (N-1, C), learned positions of the queries.
            mask_features: (B, C, H/4, W/4) of the pixel decoder.
        """
        x = start * 0 if self.start == 'zeros' else start
        for layer in self.layers:
            assert isinstance(layer, QueryInitializerLayer)
            keys, values = self.keys_and_values(layer.cross_attn, mask_features)
            x = run_layer(self.with_cp, layer, x, query_pos, keys, values)
        return self.norm(x)

    def keys_and_values(self, attention: Attention, mask_features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the projected keys (B, S, C) and values (B or 1, S, C) of a cross-attention to (B, C, H/4, W/4)."""
        size, features = mask_features.shape[-2:], mask_features.flatten(2).transpose(1, 2)
        _, (key_weight, key_bias), (value_weight, value_bias) = attention.projections()
        position = _projected_positions(size, key_weight, key_bias, features)
        keys = self._projected_features(features, key_weight, position)
        if self.values == 'position':
            return keys, _projected_positions(size, value_weight, value_bias, features)
        return keys, self._projected_features(features, value_weight, value_bias)

    def _projected_features(self, features: Tensor, weight: Tensor, shift: Tensor) -> Tensor:
        """Return ``weight`` times what ``input_proj`` makes of features (B, S, C), plus a shift (C) or (1, S, C).

        Both are linear, so their product is applied: one layer over all positions instead of two.
        """
        with no_autocast(features):
            merged = weight @ self.input_proj.weight.flatten(1)
            bias = None if self.input_proj.bias is None else (weight @ self.input_proj.bias[:, None])[:, 0]
        return linear(features, merged, bias, shortcut=shift.expand_as(features))


def _projected_positions(size: Sequence[int], weight: Tensor, bias: Tensor, like: Tensor) -> Tensor:
    """Return a projection (1, S, C) of the position encoding.

    Half of its channels depend on y alone and half on x, so that rows and columns are projected and then added up.
    """
    half = weight.shape[1] // 2
    with no_autocast(like):
        y, x = (
            F.linear(sine_encoding(length, half, weight), part, shift)
            for length, part, shift in zip(size, weight.split(half, dim=1), (bias, None), strict=True)
        )
        return (y[:, None] + x).flatten(0, 1)[None].to(like.dtype)
