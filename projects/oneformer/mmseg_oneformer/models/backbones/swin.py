"""The names of mmdet's Swin Transformer (Liu et al., 2021), and what else its class does not say."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

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
from ...errors import UserError

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
        UserError: ``table`` is of no window.
    """
    window = window_of(table)
    if window < 1:
        raise UserError(f'A window is at least 1 wide, not {window}; the bias table is broken.')
    rows, columns = torch.meshgrid(torch.arange(window), torch.arange(window), indexing='ij')
    positions = torch.stack((rows, columns)).flatten(1)  # (2, window²)
    distance = positions[:, :, None] - positions[:, None] + window - 1
    return distance[0] * (2 * window - 1) + distance[1]


def window_of(table: Tensor) -> int:
    """Return the width of the windows that a bias table ((2w - 1)², heads) is for.

    Raises:
        UserError: ``table`` is no table.
    """
    if table.dim() != 2:
        raise UserError(f'A bias table has two dimensions, not the shape {tuple(table.shape)}; the file is broken.')
    return (math.isqrt(table.shape[0]) + 1) // 2


def names_merging(later: int) -> list[Names]:
    """Return the names of its authors' code (``later`` = 0) or of timm's (1).

    Patches are merged at the end of a stage there, and at the start of the next one here.
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
"""Modules of transformers 5.x, and its files."""


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
        'image_size': backbone.get('pretrain_img_size', 224),
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
        # mmdet's class has no method that says so; the published training did not decay them.
        no_decay=('absolute_pos_embed', BIAS_TABLE),
        classifiers=[names_merging(later=1)],
        left_out={r'.+\.(relative_position_index|attn_mask)': 'what follows from the size of the windows'},
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
