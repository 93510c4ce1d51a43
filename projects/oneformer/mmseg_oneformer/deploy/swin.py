"""mmdet's Swin in a form that can be traced with free sizes.

mmdet counts images by dividing numbers of windows as floats, pads by remainders and merges patches by ``nn.Unfold``.
While a graph is traced this ties it to one batch size and takes minutes. Here windows are counted first, and all other
sizes are products of these counts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from mmdet.models.backbones.swin import ShiftWindowMSA
from mmdet.models.layers import PatchMerging
from torch import Tensor

__all__ = ['traceable_swin']


@contextmanager
def traceable_swin() -> Iterator[None]:
    """Let mmdet's Swin compute in this form inside of the block; predictions are the same."""
    with patch.object(ShiftWindowMSA, 'forward', shifted_windows), patch.object(PatchMerging, 'forward', merge_patches):
        yield


def shifted_windows(self: Any, query: Tensor, hw_shape: tuple[int, int]) -> Tensor:
    """Attend within windows of a map (B, H*W, C), which are shifted in every second block."""
    side, shift, channels, batch = self.window_size, self.shift_size, self.w_msa.embed_dims, query.shape[0]
    height, width = hw_shape
    rows, columns = (height + side - 1) // side, (width + side - 1) // side
    x = F.pad(query.view(batch, height, width, channels), (0, 0, 0, columns * side - width, 0, rows * side - height))
    if shift:
        x = torch.roll(x, (-shift, -shift), (1, 2))
    x = x.view(batch, rows, side, columns, side, channels).transpose(2, 3)
    x = _view(x, batch * rows * columns, side**2, channels)
    x = window_attention(self.w_msa, x, batch, _regions(rows, columns, side, shift, query) if shift else None)
    x = x.view(batch, rows, columns, side, side, channels).transpose(2, 3)
    x = _view(x, batch, rows * side, columns * side, channels)
    if shift:
        x = torch.roll(x, (shift, shift), (1, 2))
    return _view(x[:, :height, :width], batch, height * width, channels)


def window_attention(self: Any, x: Tensor, batch: int, regions: Tensor | None) -> Tensor:
    """Attend within windows (B * windows, tokens, C), little across borders of ``regions`` (windows, tokens)."""
    heads, channels = self.num_heads, self.embed_dims
    tokens = self.window_size[0] * self.window_size[1]
    qkv = self.qkv(x).view(x.shape[0], tokens, 3, heads, channels // heads).permute(2, 0, 3, 1, 4)
    query, key, value = qkv.unbind(0)  # (B * windows, heads, tokens, C / heads)
    table = self.relative_position_bias_table[self.relative_position_index.flatten()]
    logits = (query * self.scale) @ key.transpose(2, 3) + table.view(tokens, tokens, heads).permute(2, 0, 1)
    if regions is not None:
        blocked = regions[:, None, :, None] != regions[:, None, None, :]  # (windows, 1, tokens, tokens)
        logits = logits - 100.0 * blocked.repeat(batch, 1, 1, 1)
    return self.proj(_view((logits.softmax(3) @ value).transpose(1, 2), x.shape[0], tokens, channels))


def merge_patches(self: Any, x: Tensor, input_size: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
    """Merge 2 x 2 tokens of a map (B, H*W, C) with even sides."""
    height, width, channels = input_size[0] // 2, input_size[1] // 2, self.reduction.in_features // 4
    x = x.view(x.shape[0], height, 2, width, 2, channels).permute(0, 1, 3, 5, 2, 4)
    return self.reduction(self.norm(_view(x, x.shape[0], height * width, 4 * channels))), (height, width)


def _regions(rows: int, columns: int, side: int, shift: int, like: Tensor) -> Tensor:
    """Number the parts (windows, tokens) of a rolled map that did not lie beside each other before."""

    def along(windows: int) -> Tensor:
        index = torch.arange(windows * side, device=like.device)
        return ((index >= windows * side - side).int() + (index >= windows * side - shift).int()).view(windows, side)

    y, x = along(rows), along(columns)
    return _view(3 * y[:, None, :, None] + x[None, :, None, :], rows * columns, side**2)


def _view(x: Tensor, *shape: int) -> Tensor:
    """Reshape with a copy always: whether one is needed depends on sizes, and a check would tie the graph to them."""
    return x.clone(memory_format=torch.contiguous_format).view(shape)
