"""Swin Transformer (Liu et al., 2021) with levels at strides 4, 8, 16, 32.

It has the names and results of mmdet's, in a form that can be traced to a graph for any image size: windows are counted
first, and all other sizes are products of these counts. Maps are (B, H, W, C) inside, (B, C, H, W) outside.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from ...checkpoints.backbone_names import (
    HUB_LEVEL_NORMS,
    HUB_STAGES,
    BackboneFile,
    BackboneNames,
    Derived,
    HubNames,
    State,
    register_backbone,
)
from ...checkpoints.conversion.keys import Names, Order, keys_like, under
from ...compat import is_exporting
from ...errors import UserError
from ..activation_checkpointing import run_layer
from ..layers import DropPath
from ..ops import apply_linear


class WindowAttention(nn.Module):
    """Multi-head attention within windows, with a bias by relative position."""

    relative_position_index: Tensor

    def __init__(self, channels: int, num_heads: int, window_size: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window_size - 1) ** 2, num_heads))
        self.register_buffer(
            'relative_position_index', relative_position_index(self.relative_position_bias_table.detach())
        )
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, regions: Tensor | None) -> Tensor:
        """Attend within windows (B * windows, positions, C), with a penalty of 100 across borders of ``regions``.

        Args:
            x: The windows.
            regions: (windows, positions); positions with the same number attend to each other.
        """
        positions, channels = self.relative_position_index.shape[0], x.shape[2]
        qkv = self.qkv(x).view(x.shape[0], positions, 3, self.num_heads, channels // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B * windows, heads, positions, C / heads)
        table = self.relative_position_bias_table[self.relative_position_index.flatten()]
        bias = table.view(positions, positions, self.num_heads).permute(2, 0, 1)
        if regions is not None:
            apart = regions[:, None, :, None] != regions[:, None, None, :]  # (windows, 1, positions, positions)
            bias = bias - 100.0 * apart.repeat(x.shape[0] // regions.shape[0], 1, 1, 1)
        if torch.is_grad_enabled() or is_exporting():
            logits = (query * (channels // self.num_heads) ** -0.5) @ key.transpose(2, 3) + bias
            out = logits.softmax(3) @ value
        else:  # PyTorch's fused attention has no gradient for a bias.
            out = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.expand(x.shape[0], -1, -1, -1))
        return self.proj(_view(out.transpose(1, 2), x.shape[0], positions, channels))


class ShiftedWindows(nn.Module):
    """Attention within windows of a map, which are shifted by half their size in every second block."""

    def __init__(self, channels: int, num_heads: int, window_size: int, shift: int) -> None:
        super().__init__()
        self.window_size, self.shift = window_size, shift
        self.w_msa = WindowAttention(channels, num_heads, window_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to the same shape; zeros at the bottom and on the right complete the last windows."""
        batch, height, width, channels = x.shape
        side, shift = self.window_size, self.shift
        rows, columns = (height + side - 1) // side, (width + side - 1) // side
        x = F.pad(x, (0, 0, 0, columns * side - width, 0, rows * side - height))
        if shift:
            x = torch.roll(x, (-shift, -shift), (1, 2))
        x = x.view(batch, rows, side, columns, side, channels).transpose(2, 3)
        regions = _regions(rows, columns, side, shift, x) if shift else None
        x = self.w_msa(_view(x, batch * rows * columns, side**2, channels), regions)
        x = x.view(batch, rows, columns, side, side, channels).transpose(2, 3)
        x = _view(x, batch, rows * side, columns * side, channels)
        if shift:
            x = torch.roll(x, (shift, shift), (1, 2))
        return x[:, :height, :width]


class SwinBlock(nn.Module):
    """Attention within windows, then a feed-forward network, each with a shortcut."""

    def __init__(
        self, channels: int, hidden_channels: int, num_heads: int, window_size: int, shift: int, drop_path: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn = ShiftedWindows(channels, num_heads, window_size, shift)
        self.norm2 = nn.LayerNorm(channels)
        self.ffn = FeedForward(channels, hidden_channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to the same shape."""
        x = self.drop_path(self.attn(self.norm1(x))) + x
        if self.training:
            return x + self.drop_path(self.ffn(self.norm2(x)))
        return self.ffn(self.norm2(x), shortcut=x)


class FeedForward(nn.Module):
    """Two linear layers with a GELU between them, under mmcv's names."""

    def __init__(self, channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Sequential(nn.Linear(channels, hidden_channels)), nn.Linear(hidden_channels, channels)
        )

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        """Map (..., C) to (..., C), and add a shortcut."""
        hidden = apply_linear(self.get_submodule('layers.0.0'), x, 'gelu')
        return apply_linear(self.layers[1], hidden, shortcut=shortcut)


class PatchEmbedding(nn.Module):
    """Patches of 4 x 4 pixels as vectors."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(3, channels, kernel_size=4, stride=4)
        self.norm = nn.LayerNorm(channels)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, 4H, 4W), padded with zeros if needed, to (B, H, W, C)."""
        return self.norm(self.projection(_pad_to_multiple(images, 4)).permute(0, 2, 3, 1))


class PatchMerging(nn.Module):
    """Four neighbours become one position of twice the width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 2H, 2W, C), padded with zeros if needed, to (B, H, W, 2C)."""
        x = _pad_to_multiple(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
        batch, height, width, channels = x.shape[0], x.shape[1] // 2, x.shape[2] // 2, x.shape[3]
        x = _view(x, batch, height, 2, width, 2, channels).permute(0, 1, 3, 5, 2, 4)
        return self.reduction(self.norm(_view(x, batch, height, width, 4 * channels)))


class Stage(nn.Module):
    """Blocks of one size."""

    def __init__(self, blocks: Sequence[SwinBlock], downsample: PatchMerging | None, with_cp: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample
        self.with_cp = with_cp

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the level (B, H, W, C), and the input of the next stage."""
        for block in self.blocks:
            x = run_layer(self.with_cp, block, x)
        return x, x if self.downsample is None else self.downsample(x)


@MODELS.register_module()
class SwinBackbone(BaseModule):
    """Swin Transformer.

    Args:
        embed_dims: Channels of the first level; each later one has twice as many as the one before.
        depths: Blocks of each stage.
        num_heads: Of each stage.
        window_size: Positions along a side of a window.
        mlp_ratio: Ratio of the hidden channels of a feed-forward network to its channels.
        drop_path_rate: Probability of dropping the last block's branches; that of the first is 0.
        with_cp: Activation checkpointing of each block.
    """

    def __init__(
        self,
        embed_dims: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        window_size: int = 7,
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.patch_embed = PatchEmbedding(embed_dims)
        widths = [embed_dims * 2**i for i in range(len(depths))]
        rates = iter(torch.linspace(0, drop_path_rate, sum(depths)).tolist())
        self.stages = nn.ModuleList()
        for i, (width, depth, heads) in enumerate(zip(widths, depths, num_heads, strict=True)):
            blocks = [
                SwinBlock(width, int(mlp_ratio * width), heads, window_size, window_size // 2 * (j % 2), next(rates))
                for j in range(depth)
            ]
            last = i == len(depths) - 1
            self.stages.append(Stage(blocks, None if last else PatchMerging(width), with_cp))
        for i, width in enumerate(widths):
            self.add_module(f'norm{i}', nn.LayerNorm(width))

    def init_weights(self) -> None:
        """Initialise from ``init_cfg``, or from scratch."""
        if self.init_cfg:
            super().init_weights()
            return
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, WindowAttention):
                nn.init.trunc_normal_(module.relative_position_bias_table, std=0.02)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map images (B, 3, H, W) to a level (B, C_i, H/s, W/s) for each stage."""
        x, levels = self.patch_embed(images), []
        for i, stage in enumerate(self.stages):
            level, x = stage(x)
            levels.append(self.get_submodule(f'norm{i}')(level).permute(0, 3, 1, 2))
        return tuple(levels)


def _regions(rows: int, columns: int, side: int, shift: int, like: Tensor) -> Tensor:
    """Number the parts (windows, positions) of a rolled map that were not adjacent before."""

    def along(windows: int) -> Tensor:
        index = torch.arange(windows * side, device=like.device)
        return ((index >= windows * side - side).int() + (index >= windows * side - shift).int()).view(windows, side)

    y, x = along(rows), along(columns)
    return _view(3 * y[:, None, :, None] + x[None, :, None, :], rows * columns, side**2)


def _pad_to_multiple(x: Tensor, divisor: int) -> Tensor:
    """Pad a map (B, C, H, W) with zeros at the bottom and on the right."""
    below, right = -x.shape[2] % divisor, -x.shape[3] % divisor
    return F.pad(x, (0, right, 0, below)) if below or right else x


def _view(x: Tensor, *shape: int) -> Tensor:
    """Reshape, always with a copy: whether one is needed depends on sizes, and a check would tie a graph to them."""
    return x.clone(memory_format=torch.contiguous_format).view(shape)


FILES = 'https://github.com/SwinTransformer/storage/releases/download/v1.0.0'
BIAS_TABLE = 'stages.{i}.blocks.{j}.attn.w_msa.relative_position_bias_table'
INDEX = 'stages.{i}.blocks.{j}.attn.w_msa.relative_position_index'


def unfold_order(x: Tensor) -> Tensor:
    """Reorder the 4C inputs of Swin's patch merging to mmdet's order.

    The reference concatenates the four pixels of a patch column by column, each with all its channels. mmdet unfolds:
    channel by channel, the pixels row by row.

    Args:
        x: (..., 4C), a weight or norm that acts on merged patches.
    """
    return x.unflatten(-1, (4, -1))[..., [0, 2, 1, 3], :].transpose(-1, -2).flatten(-2)


def concatenation_order(x: Tensor) -> Tensor:
    """Undo ``unfold_order``."""
    return x.unflatten(-1, (-1, 4)).transpose(-1, -2)[..., [0, 2, 1, 3], :].flatten(-2)


PATCH_MERGING = Order(unfold_order, concatenation_order)


def relative_position_index(table: Tensor) -> Tensor:
    """Row of a bias table for each pair of a window's positions (Swin's formula): int64 (window², window²).

    Raises:
        UserError: ``table`` belongs to no window.
    """
    window = window_of(table)
    if window < 1:
        raise UserError(f'A window must be at least 1 wide, not {window}; the bias table is broken.')
    rows, columns = torch.meshgrid(torch.arange(window), torch.arange(window), indexing='ij')
    positions = torch.stack((rows, columns)).flatten(1)  # (2, window²)
    distance = positions[:, :, None] - positions[:, None] + window - 1
    return distance[0] * (2 * window - 1) + distance[1]


def window_of(table: Tensor) -> int:
    """Return the width of the windows that a bias table ((2w - 1)², heads) is for.

    Raises:
        UserError: ``table`` is not a table.
    """
    if table.dim() != 2:
        raise UserError(f'A bias table has two dimensions, not the shape {tuple(table.shape)}; the file is broken.')
    return (math.isqrt(table.shape[0]) + 1) // 2


def names_merging(later: int) -> list[Names]:
    """Return the names in the authors' code (``later`` = 0), which merges patches at the end of a stage, or timm's (1).

    timm merges them at the start of the next stage.
    """
    return [
        ('patch_embed.projection.{wb}', 'patch_embed.proj.{wb}'),
        'patch_embed.norm.{wb}',
        *under(
            'stages.{i}.blocks.{j}.',
            'layers.{i}.blocks.{j}.',
            [
                'norm1.{wb}',
                'norm2.{wb}',
                ('attn.w_msa.qkv.{wb}', 'attn.qkv.{wb}'),
                ('attn.w_msa.proj.{wb}', 'attn.proj.{wb}'),
                ('attn.w_msa.relative_position_bias_table', 'attn.relative_position_bias_table'),
                ('attn.w_msa.relative_position_index', 'attn.relative_position_index'),
                ('ffn.layers.0.0.{wb}', 'mlp.fc1.{wb}'),
                ('ffn.layers.1.{wb}', 'mlp.fc2.{wb}'),
            ],
        ),
        *(
            (f'stages.{i}.downsample.{name}', f'layers.{i + later}.downsample.{name}', PATCH_MERGING)
            for i in range(3)
            for name in ('reduction.weight', 'norm.{wb}')
        ),
        'norm{i}.{wb}',
    ]


HUB: list[Names] = [
    ('patch_embed.projection.{wb}', 'embeddings.patch_embeddings.projection.{wb}'),
    ('patch_embed.norm.{wb}', 'embeddings.norm.{wb}'),
    *under(
        'stages.{i}.downsample.',
        'encoder.layers.{i}.downsample.',
        [(name, name, PATCH_MERGING) for name in ('reduction.weight', 'norm.{wb}')],
    ),
    *under(
        'stages.{i}.blocks.{j}.',
        'encoder.layers.{i}.blocks.{j}.',
        [
            ('norm1.{wb}', 'layernorm_before.{wb}'),
            ('norm2.{wb}', 'layernorm_after.{wb}'),
            ('attn.w_msa.qkv.{wb}', tuple(f'attention.self.{part}.{{wb}}' for part in ('query', 'key', 'value'))),
            ('attn.w_msa.proj.{wb}', 'attention.output.dense.{wb}'),
            ('attn.w_msa.relative_position_bias_table', 'attention.self.relative_position_bias_table'),
            ('attn.w_msa.relative_position_index', 'attention.self.relative_position_index'),
            ('ffn.layers.0.0.{wb}', 'intermediate.dense.{wb}'),
            ('ffn.layers.1.{wb}', 'output.dense.{wb}'),
        ],
    ),
    *HUB_LEVEL_NORMS,
]

IN_MEMORY = [
    ('swin.encoder.', 'encoder.'),
    ('swin.embeddings.', 'embeddings.'),
    ('.attention.q_proj.', '.attention.self.query.'),
    ('.attention.k_proj.', '.attention.self.key.'),
    ('.attention.v_proj.', '.attention.self.value.'),
    ('.attention.o_proj.', '.attention.output.dense.'),
    ('.attention.relative_position_bias.relative_position_bias_table', '.attention.self.relative_position_bias_table'),
    ('.mlp.fc1.', '.intermediate.dense.'),
    ('.mlp.fc2.', '.output.dense.'),
]
"""Names of the modules in transformers 5.x, and of its files."""


def hub_config(state: State, backbone: Mapping[str, Any]) -> dict[str, Any]:
    """Return transformers' settings."""
    tables = [state[BIAS_TABLE.format(i=i, j=0)] for i in range(4)]
    hidden, channels = state['stages.0.blocks.0.ffn.layers.0.0.weight'].shape
    return {
        'out_features': HUB_STAGES,
        'drop_path_rate': backbone.get('drop_path_rate', 0.0),
        'model_type': 'swin',
        'embed_dim': len(state['patch_embed.projection.weight']),
        'depths': [len(keys_like(state, f'stages.{i}.blocks.{{j}}.norm1.weight')) for i in range(4)],
        'num_heads': [table.shape[1] for table in tables],
        'window_size': window_of(tables[0]),
        'image_size': 32 * window_of(tables[0]),
        'mlp_ratio': hidden / channels,
    }


register_backbone(
    BackboneNames(
        family='swin',
        block='stages.{i}.blocks.{j}.norm1.weight',
        width='patch_embed.projection.weight',
        sizes={(12, 96): 'swin-t', (24, 96): 'swin-s', (24, 128): 'swin-b', (24, 192): 'swin-l'},
        reference=names_merging(later=0),
        hub=HubNames(HUB, hub_config, IN_MEMORY, unread_norm=('swin.layernorm', 'norm3')),
        derived=[Derived(INDEX, BIAS_TABLE, relative_position_index, 'the size of the window')],
        # The published training applied no weight decay to them; mmdet's class, with the same names, does not say so.
        no_decay=('absolute_pos_embed', BIAS_TABLE),
        classifiers=[names_merging(later=1)],
        left_out={r'.+\.(relative_position_index|attn_mask)': 'tensors that follow from the size of the windows'},
        start_new=('norm{i}.{wb}',),
        files={
            'swin_tiny_patch4_window7_224': BackboneFile(
                f'{FILES}/swin_tiny_patch4_window7_224.pth',
                'Swin-T, ImageNet-1k, 224 pixels',
                'swin_tiny_patch4_window7_224.ms_in1k',
            ),
            'swin_large_patch4_window12_384_22kto1k': BackboneFile(
                f'{FILES}/swin_large_patch4_window12_384_22kto1k.pth',
                'Swin-L, ImageNet-22k, then 1k, 384 pixels',
                'swin_large_patch4_window12_384.ms_in22k_ft_in1k',
            ),
        },
    )
)
