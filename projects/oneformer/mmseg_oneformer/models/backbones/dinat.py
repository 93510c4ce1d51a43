"""DiNAT (Hassani and Shi, 2022): a hierarchy of dilated neighbourhood attention.

The names of its parameters are those of the published files. Maps are (B, H, W, C) inside, (B, C, H, W) outside.
"""

from collections import OrderedDict
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
    HubNames,
    State,
    register_backbone,
)
from ...checkpoints.conversion.keys import Names, keys_like, under
from ...errors import UserError
from ..activation_checkpointing import run_layer
from ..layers import DropPath
from ..ops import neighborhood_attention

FILES = 'https://shi-labs.com/projects/dinat/checkpoints'


class NeighborhoodAttention(nn.Module):
    """Multi-head attention of each position to its K x K neighbours, with a bias by relative position."""

    def __init__(self, channels: int, num_heads: int, kernel_size: int, dilation: int) -> None:
        super().__init__()
        self.num_heads, self.kernel_size, self.dilation = num_heads, kernel_size, dilation
        self.qkv = nn.Linear(channels, 3 * channels)
        self.rpb = nn.Parameter(torch.zeros(num_heads, 2 * kernel_size - 1, 2 * kernel_size - 1))
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to the same shape.

        A map with fewer than ``kernel_size * dilation`` positions a side is padded with zeros on the right and at the
        bottom. The padding goes through ``qkv``, so its keys and values are the biases, and it *is* attended to:
        natten 0.14 does so and the published weights were trained with it.
        """
        height, width = x.shape[1:3]
        least = self.kernel_size * self.dilation
        x = F.pad(x, (0, 0, 0, max(least - width, 0), 0, max(least - height, 0)))
        query, key, value = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).unbind(3)
        query = query * query.shape[-1] ** -0.5
        x = neighborhood_attention(query, key, value, self.rpb, self.kernel_size, self.dilation)
        return self.proj(x[:, :height, :width].flatten(3))


class Block(nn.Module):
    """Neighbourhood attention and MLP, pre-norm."""

    def __init__(self, channels: int, mlp_ratio: float, drop_path: float, attention: NeighborhoodAttention) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn = attention
        self.norm2 = nn.LayerNorm(channels)
        hidden = int(channels * mlp_ratio)
        layers = {'fc1': nn.Linear(channels, hidden), 'act': nn.GELU(), 'fc2': nn.Linear(hidden, channels)}
        self.mlp = nn.Sequential(OrderedDict(layers))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Refine (B, H, W, C)."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    """Image (B, 3, H, W) to (B, H/4, W/4, C) with two overlapping convolutions, without an activation between them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            nn.Conv2d(3, channels // 2, 3, stride=2, padding=1),
            nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1),
        )
        self.norm = nn.LayerNorm(channels)

    def forward(self, image: Tensor) -> Tensor:
        """Embed a normalised image."""
        return self.norm(self.proj(image).permute(0, 2, 3, 1))


class Downsample(nn.Module):
    """Half the size, twice the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduction = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, bias=False)
        self.norm = nn.LayerNorm(2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H/2, W/2, 2C)."""
        return self.norm(self.reduction(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


class Level(nn.Module):
    """Blocks at one stride, and the downsampling to the next one."""

    def __init__(self, blocks: Sequence[Block], downsample: Downsample | None, with_cp: bool) -> None:
        super().__init__()
        self.with_cp = with_cp
        self.blocks = nn.Sequential(*blocks)
        self.downsample = downsample

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the refined features (B, H, W, C) and the input of the next level (after the last: the same)."""
        for block in self.blocks:
            x = run_layer(self.with_cp, block, x)
        return x, x if self.downsample is None else self.downsample(x)


@MODELS.register_module()
class DiNAT(BaseModule):
    """DiNAT with a norm after each level.

    Args:
        embed_dims: channels of the first level; each level doubles them.
        depths: blocks of each level.
        num_heads: attention heads of each level.
        mlp_ratio: ratio of the MLPs' hidden width to the channels.
        kernel_size: K; natten can be used with its own sizes only (odd, 3 to 13).
        dilations: of each block, one list per level.
        drop_path_rate: probability of dropping the last block's branches; that of the first is 0.
        with_cp: activation checkpointing of each block.
    """

    def __init__(
        self,
        embed_dims: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        mlp_ratio: float,
        kernel_size: int,
        dilations: Sequence[Sequence[int]],
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if [len(level) for level in dilations] != list(depths):
            raise UserError(
                f'dilations has {[len(level) for level in dilations]} entries per level, but depths is {list(depths)}; '
                'give one dilation for each block.'
            )
        self.patch_embed = PatchEmbed(embed_dims)
        rates = torch.linspace(0, drop_path_rate, sum(depths)).split(list(depths))
        self.levels = nn.ModuleList()
        for i, (heads, steps) in enumerate(zip(num_heads, dilations, strict=True)):
            channels = embed_dims * 2**i
            blocks = [
                Block(channels, mlp_ratio, rate, NeighborhoodAttention(channels, heads, kernel_size, step))
                for step, rate in zip(steps, rates[i].tolist(), strict=True)
            ]
            self.levels.append(Level(blocks, None if i + 1 == len(depths) else Downsample(channels), with_cp))
            self.add_module(f'norm{i}', nn.LayerNorm(channels))

    def init_weights(self) -> None:
        """Truncated normal matrices and tables, zero biases; then ``init_cfg``."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
            elif isinstance(module, NeighborhoodAttention):
                nn.init.trunc_normal_(module.rpb, std=0.02)
        super().init_weights()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return levels (B, C * 2^i, H/s, W/s) at strides s = 4, 8, 16, 32 of normalised images (B, 3, H, W)."""
        x = self.patch_embed(image)
        levels = []
        for i, level in enumerate(self.levels):
            features, x = level(x)
            levels.append(getattr(self, f'norm{i}')(features).permute(0, 3, 1, 2))
        return tuple(levels)


REFERENCE: list[Names] = [
    'patch_embed.proj.{i}.{wb}',
    'patch_embed.norm.{wb}',
    *under(
        'levels.{i}.blocks.{j}.',
        'levels.{i}.blocks.{j}.',
        ['norm1.{wb}', 'norm2.{wb}', 'attn.rpb', 'attn.qkv.{wb}', 'attn.proj.{wb}', 'mlp.fc1.{wb}', 'mlp.fc2.{wb}'],
    ),
    'levels.{i}.downsample.reduction.weight',
    'levels.{i}.downsample.norm.{wb}',
    'norm{i}.{wb}',
]

HUB: list[Names] = [
    ('patch_embed.proj.{i}.{wb}', 'embeddings.patch_embeddings.projection.{i}.{wb}'),
    ('patch_embed.norm.{wb}', 'embeddings.norm.{wb}'),
    ('levels.{i}.downsample.reduction.weight', 'encoder.levels.{i}.downsample.reduction.weight'),
    ('levels.{i}.downsample.norm.{wb}', 'encoder.levels.{i}.downsample.norm.{wb}'),
    *under(
        'levels.{i}.blocks.{j}.',
        'encoder.levels.{i}.layers.{j}.',
        [
            ('norm1.{wb}', 'layernorm_before.{wb}'),
            ('norm2.{wb}', 'layernorm_after.{wb}'),
            ('attn.rpb', 'attention.self.rpb'),
            ('attn.qkv.{wb}', tuple(f'attention.self.{part}.{{wb}}' for part in ('query', 'key', 'value'))),
            ('attn.proj.{wb}', 'attention.output.dense.{wb}'),
            ('mlp.fc1.{wb}', 'intermediate.dense.{wb}'),
            ('mlp.fc2.{wb}', 'output.dense.{wb}'),
        ],
    ),
    *HUB_LEVEL_NORMS,
]


def hub_config(state: State, backbone: Mapping[str, Any]) -> dict[str, Any]:
    """Return transformers' settings; the dilations come from the config, since no tensor shows them."""
    tables = [state[f'levels.{i}.blocks.0.attn.rpb'] for i in range(4)]
    hidden, channels = state['levels.0.blocks.0.mlp.fc1.weight'].shape
    return {
        'out_features': HUB_STAGES,
        'drop_path_rate': backbone.get('drop_path_rate', 0.0),
        'model_type': 'dinat',
        'embed_dim': len(state['patch_embed.norm.weight']),
        'depths': [len(keys_like(state, f'levels.{i}.blocks.{{j}}.norm1.weight')) for i in range(4)],
        'num_heads': [len(table) for table in tables],
        **kernel_size(state),
        'dilations': [list(stage) for stage in backbone['dilations']],
        'mlp_ratio': hidden / channels,
        'layer_scale_init_value': 0.0,
    }


def kernel_size(state: State) -> dict[str, int]:
    """Return the argument in which the published DiNAT-L models differ."""
    table = state.get('levels.0.blocks.0.attn.rpb')
    return {} if table is None or not table.dim() else {'kernel_size': (table.shape[-1] + 1) // 2}


register_backbone(
    BackboneNames(
        family='dinat',
        block='levels.{i}.blocks.{j}.norm1.weight',
        width='patch_embed.norm.weight',
        sizes={(30, 192): 'dinat-l'},
        settings=kernel_size,
        reference=REFERENCE,
        hub=HubNames(HUB, hub_config),
        start_new=('norm{i}.{wb}',),
        files={
            'dinat_large_in22k_in1k_384_11x11': BackboneFile(
                f'{FILES}/imagenet1k/dinat_large_in22k_in1k_384_11x11.pth',
                'DiNAT-L, kernel 11, ImageNet-22k, then 1k, 384 pixels',
            ),
            'dinat_large_in22k_224': BackboneFile(
                f'{FILES}/imagenet22k/dinat_large_in22k_224.pth', 'DiNAT-L, kernel 7, ImageNet-22k, 224 pixels'
            ),
        },
    )
)
