"""Task-conditioned object queries (paper §3.2)."""

from typing import Literal

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..errors import UserError
from .activation_checkpointing import run_layer
from .layers import Attention, FeedForward, sine_position_encoding, xavier_init
from .ops.dropout import Dropout


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

    def forward(self, x: Tensor, query_pos: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Update x (B, T, N, C) by attention to ``key`` (B, S, C) and ``value`` (B or 1, S, C)."""
        q = (x + query_pos).flatten(0, 1)
        x = self.norm1(x + self.dropout(self.self_attn(q, q, x.flatten(0, 1)).view_as(x)))
        q = (x + query_pos).flatten(1, 2)
        x = self.norm2(x + self.dropout(self.cross_attn(q, key, value).view_as(x)))
        return self.norm3(x + self.dropout(self.ffn(x)))


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
        features = self.input_proj(mask_features).flatten(2).transpose(1, 2)  # (B, S, C)
        position = sine_position_encoding(mask_features.shape[-2:], features.shape[2], features).flatten(1).T[None]
        key = features + position
        value = position if self.values == 'position' else features
        x = start * 0 if self.start == 'zeros' else start
        for layer in self.layers:
            x = run_layer(self.with_cp, layer, x, query_pos, key, value)
        return self.norm(x)
