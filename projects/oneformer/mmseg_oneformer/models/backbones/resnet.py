"""ResNet (He et al., 2016) with levels at strides 4, 8, 16, 32: the names and results of mmdet's in PyTorch style.

The names are torchvision's too. In the reference code, batch norms are frozen, with four buffers each, or synchronised,
with a counter as the fifth; here they always have the counter.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...checkpoints.backbone_names import HUB_STAGES, BackboneNames, HubNames, State, register_backbone
from ...checkpoints.conversion.keys import Names, Rule, keys_like, under
from ...errors import UserError
from ..activation_checkpointing import run_layer

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Blocks of each stage, by depth."""

NORMS = {'BN': nn.BatchNorm2d, 'SyncBN': nn.SyncBatchNorm}


def build_norm(norm_cfg: Mapping[str, Any], channels: int) -> nn.Module:
    """Build a norm as mmcv does; mmcv's own search for the name would import all of mmdet.

    Raises:
        UserError: There is no such norm.
    """
    if norm_cfg['type'] not in NORMS:
        raise UserError(f'norm_cfg.type of ResNetBackbone must be one of {", ".join(NORMS)}, not {norm_cfg["type"]}.')
    norm = NORMS[norm_cfg['type']](channels)
    return norm.requires_grad_(norm_cfg.get('requires_grad', True))


class ResNetBlock(nn.Module):
    """Convolutions with a shortcut: two of 3 x 3, or in a bottleneck 1 x 1, 3 x 3, 1 x 1."""

    def __init__(self, in_channels: int, channels: int, stride: int, bottleneck: bool, norm_cfg: dict) -> None:
        super().__init__()
        kernels = (1, 3, 1) if bottleneck else (3, 3)
        out_channels = 4 * channels if bottleneck else channels
        downsample = None
        if stride > 1 or in_channels != out_channels:
            shortcut = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            downsample = nn.Sequential(shortcut, build_norm(norm_cfg, out_channels))
        widths = [in_channels] + [channels] * (len(kernels) - 1) + [out_channels]
        self.depth = len(kernels)
        for i, kernel in enumerate(kernels):
            step = stride if i == kernels.index(3) else 1
            conv = nn.Conv2d(widths[i], widths[i + 1], kernel, step, kernel // 2, bias=False)
            self.add_module(f'conv{i + 1}', conv)
            self.add_module(f'bn{i + 1}', build_norm(norm_cfg, widths[i + 1]))
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H', W')."""
        out = x
        for i in range(1, self.depth + 1):
            out = self.get_submodule(f'bn{i}')(self.get_submodule(f'conv{i}')(out))
            if i < self.depth:
                out = F.relu(out, inplace=True)
        out += x if self.downsample is None else self.downsample(x)
        return F.relu(out, inplace=True)


@MODELS.register_module()
class ResNetBackbone(BaseModule):
    """ResNet.

    Args:
        depth: 18, 34, 50, 101 or 152.
        base_channels: Channels of the stem; the stages have 1, 2, 4, 8 times as many, and with bottlenecks (from depth
            50 on) their outputs four times those.
        norm_cfg: The norms, ``dict(type='BN')`` or 'SyncBN'; ``requires_grad=False`` freezes their weights.
        norm_eval: Batch norms use their running statistics in training too.
        with_cp: Activation checkpointing of each block.

    Raises:
        UserError: There is no ResNet of this depth.
    """

    def __init__(
        self,
        depth: int,
        base_channels: int = 64,
        norm_cfg: dict | None = None,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if depth not in BLOCKS:
            raise UserError(f'There is no ResNet of depth {depth}; choose from {", ".join(map(str, BLOCKS))}.')
        self.norm_eval, self.with_cp = norm_eval, with_cp
        norm_cfg = norm_cfg or {'type': 'BN'}
        bottleneck = depth >= 50
        self.conv1 = nn.Conv2d(3, base_channels, 7, stride=2, padding=3, bias=False)
        self.bn1 = build_norm(norm_cfg, base_channels)
        in_channels = base_channels
        for i, count in enumerate(BLOCKS[depth]):
            channels, blocks = base_channels * 2**i, []
            for j in range(count):
                stride = 2 if i > 0 and j == 0 else 1
                blocks.append(ResNetBlock(in_channels, channels, stride, bottleneck, norm_cfg))
                in_channels = 4 * channels if bottleneck else channels
            self.add_module(f'layer{i + 1}', nn.Sequential(*blocks))

    def init_weights(self) -> None:
        """Initialise from ``init_cfg``, or from scratch: blocks begin as their shortcuts (Goyal et al., 2017)."""
        if self.init_cfg:
            super().init_weights()
            return
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
            elif isinstance(module, ResNetBlock):
                nn.init.zeros_(module.get_parameter(f'bn{module.depth}.weight'))

    def train(self, mode: bool = True) -> 'ResNetBackbone':
        """Choose training or evaluation, with ``norm_eval`` for all but the batch norms."""
        super().train(mode)
        for module in self.modules():
            if self.norm_eval and isinstance(module, _BatchNorm):
                module.eval()
        return self

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map images (B, 3, H, W) to four levels (B, C_i, H/s, W/s)."""
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)
        x, levels = F.max_pool2d(x, kernel_size=3, stride=2, padding=1), []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in stage:
                x = run_layer(self.with_cp, block, x)
            levels.append(x)
        return tuple(levels)


def in_stages(theirs: str, first: int, names: Sequence[Names]) -> list[Rule]:
    """Return the rules for ``names`` in the blocks of each stage; theirs are numbered from ``first``."""
    return [
        rule for i in range(4) for rule in under(f'layer{i + 1}.{{i}}.', theirs.replace('N', str(first + i)), names)
    ]


REFERENCE: list[Names] = [
    ('conv1.weight', 'stem.conv1.weight'),
    ('bn1.{bn}', 'stem.conv1.norm.{bn}'),
    *in_stages(
        'resN.{i}.',
        2,
        [
            'conv{j}.weight',
            ('bn{j}.{bn}', 'conv{j}.norm.{bn}'),
            ('downsample.0.weight', 'shortcut.weight'),
            ('downsample.1.{bn}', 'shortcut.norm.{bn}'),
        ],
    ),
]
"""detectron2's."""

HUB: list[Names] = [
    ('conv1.weight', 'embedder.embedder.convolution.weight'),
    ('bn1.{bn}', 'embedder.embedder.normalization.{bn}'),
    *in_stages(
        'encoder.stages.N.layers.{i}.',
        0,
        [
            *((f'conv{n}.weight', f'layer.{n - 1}.convolution.weight') for n in (1, 2, 3)),
            *((f'bn{n}.{{bn}}', f'layer.{n - 1}.normalization.{{bn}}') for n in (1, 2, 3)),
            ('downsample.0.weight', 'shortcut.convolution.weight'),
            ('downsample.1.{bn}', 'shortcut.normalization.{bn}'),
        ],
    ),
]


def hub_config(state: State, backbone: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return transformers' settings, or None: it has only bottlenecks in PyTorch style."""
    if backbone.get('style', 'pytorch') != 'pytorch' or 'layer1.0.conv3.weight' not in state:
        return None
    return {
        'model_type': 'resnet',
        'out_features': HUB_STAGES,
        'layer_type': 'bottleneck',
        'embedding_size': len(state['conv1.weight']),
        'hidden_sizes': [len(state[f'layer{i}.0.conv3.weight']) for i in range(1, 5)],
        'depths': [len(keys_like(state, f'layer{i}.{{j}}.conv1.weight')) for i in range(1, 5)],
    }


register_backbone(
    BackboneNames(
        family='resnet',
        block='layer{i}.{j}.conv1.weight',
        # Only bottlenecks have this one: ResNet-34 has as many blocks as ResNet-50.
        width='layer1.0.conv3.weight',
        sizes={(16, 256): 'r50', (33, 256): 'r101'},
        reference=REFERENCE,
        hub=HubNames(HUB, hub_config),
    )
)
