"""Masked-attention decoder (Mask2Former): each layer attends only to the inside of the previously predicted masks."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..compat import is_exporting
from .activation_checkpointing import run_layer
from .layers import MLP, Attention, FeedForward, sine_position_encoding, xavier_init
from .ops import linear


class Predictions(NamedTuple):
    """L predictions of N queries for T tasks on B images."""

    class_logits: Tensor  # (L, B, T, N, K+1), the last class is "no object"
    mask_embed: Tensor  # (L, B, T, N, C)
    mask_features: Tensor  # (B, C, H/4, W/4)
    queries: Tensor  # (B, T, N, C), before the decoder

    def mask_logits(self, layer: int = -1) -> Tensor:
        """Return the mask logits (B, T, N, H/4, W/4) of one prediction: mask embeddings times mask features."""
        embed, features = self.mask_embed[layer], self.mask_features
        logits = products(embed.flatten(1, 2), features.flatten(2))
        return logits.unflatten(1, embed.shape[1:3]).unflatten(3, features.shape[2:])


class MaskedDecoderLayer(nn.Module):
    """Masked cross-attention, self-attention, feed-forward, post-norm, no dropout."""

    def __init__(self, channels: int, num_heads: int, ffn_channels: int) -> None:
        super().__init__()
        self.cross_attn = Attention(channels, num_heads)
        self.cross_norm = nn.LayerNorm(channels)
        self.self_attn = Attention(channels, num_heads)
        self.self_norm = nn.LayerNorm(channels)
        self.ffn = FeedForward(channels, ffn_channels)
        self.ffn_norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor, query_pos: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """Update queries (B, T, N, C); ``key`` and ``value`` (B, S, C) serve all tasks, ``mask`` (B, T*N, S)."""
        q = (x + query_pos).flatten(1, 2)
        x = self.cross_norm(x + self.cross_attn(q, key, value, mask).view_as(x))
        q = (x + query_pos).flatten(0, 1)
        x = self.self_norm(x + self.self_attn(q, q, x.flatten(0, 1)).view_as(x))
        return self.ffn_norm(self.ffn(x))


@MODELS.register_module()
class MaskedDecoder(BaseModule):
    """Object queries become classes and masks.

    The mask features are resized once to each level's size, and attention masks are made there: bilinear resizing is
    linear, so this equals resizing full masks (up to rounding) at a sixteenth of the cost or less.

    Args:
        num_classes: K, without "no object".
        channels: C.
        num_layers: decoder layers; one more prediction is made, before the first ("DEC_LAYERS=10" is 9 here).
        with_cp: activation checkpointing of each layer.
    """

    def __init__(
        self,
        num_classes: int,
        channels: int = 256,
        num_layers: int = 9,
        num_heads: int = 8,
        ffn_channels: int = 2048,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.with_cp = with_cp
        self.layers = nn.ModuleList(MaskedDecoderLayer(channels, num_heads, ffn_channels) for _ in range(num_layers))
        self.norm = nn.LayerNorm(channels)
        self.level_embed = nn.Embedding(3, channels)
        self.class_embed = nn.Linear(channels, num_classes + 1)
        self.mask_embed = MLP(channels, channels, channels, num_layers=3)

    def init_weights(self) -> None:
        """Initialise as the reference code does: Glorot in the layers, PyTorch's defaults in the two heads."""
        super().init_weights()
        xavier_init(self.layers)

    def forward(
        self,
        queries: Tensor,
        query_pos: Tensor,
        memory: Sequence[Tensor],
        mask_features: Tensor,
        every_layer: bool,
    ) -> Predictions:
        """Decode T tasks at once.

        Args:
            queries: (B, T, N, C).
            query_pos: (N, C).
            memory: (B, C, H/s, W/s) for s = 32, 16, 8.
            mask_features: (B, C, H/4, W/4).
            every_layer: predict before the first layer and after each (training), or after the last only.

        Returns:
            Predictions with L = num_layers + 1, or 1.
        """
        sizes = [level.shape[-2:] for level in memory]
        values = [
            level.flatten(2).transpose(1, 2) + embed
            for level, embed in zip(memory, self.level_embed.weight, strict=True)
        ]
        keys = [
            value + sine_position_encoding(size, value.shape[2], value).flatten(1).T
            for value, size in zip(values, sizes, strict=True)
        ]
        resized = [
            F.interpolate(mask_features.detach(), size=size, mode='bilinear', align_corners=False).flatten(2)
            for size in sizes
        ]
        start, decoded = queries, [self.norm(queries)]
        embeds = [self.mask_embed(decoded[0])]
        for i, layer in enumerate(self.layers):
            level = i % len(memory)
            mask = attention_mask(embeds[-1], resized[level])
            queries = run_layer(self.with_cp, layer, queries, query_pos, keys[level], values[level], mask)
            decoded.append(self.norm(queries))
            embeds.append(self.mask_embed(decoded[-1]))
        if not every_layer:
            decoded, embeds = decoded[-1:], embeds[-1:]
        return Predictions(self.class_embed(torch.stack(decoded)), torch.stack(embeds), mask_features, start)


@torch.no_grad()
def attention_mask(mask_embed: Tensor, features: Tensor) -> Tensor:
    """Return what keeps queries inside of their masks: -inf where a mask's probability is below 0.5, that is logit < 0.

    A query that would be blocked everywhere attends to everything.

    Args:
        mask_embed: (B, T, N, C).
        features: (B, C, S), mask features at the level's size.

    Returns:
        (B, T*N, S), 0 or -inf, to be added to the logits of the attention.
    """
    logits = products(mask_embed.flatten(1, 2), features)
    nowhere = logits.amax(dim=-1, keepdim=True) < 0
    # A tenth of the time of a comparison and `where` on a CPU. Logits closer to 0 than normal numbers count as 0.
    below = F.threshold(logits, -torch.finfo(logits.dtype).tiny, -math.inf, inplace=True)
    return below.clamp_(max=0).masked_fill_(nowhere, 0)


def products(queries: Tensor, features: Tensor) -> Tensor:
    """Return the inner products (B, Q, S) of queries (B, Q, C) and features (B, C, S)."""
    if is_exporting() or len(queries) > 1:
        return queries @ features
    return linear(queries[0], features[0].T)[None]  # which on a CPU has the faster library
