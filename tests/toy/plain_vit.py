"""A plain vision transformer, as a file of a user's own: the package knows nothing of it."""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from timm.models.vision_transformer import Block
from torch import nn

from mmseg_oneformer.checkpoints.backbone_names import BackboneNames, register_backbone


@MODELS.register_module()
class PlainViT(BaseModule):
    def __init__(self, width=32, depth=2, init_cfg=None):
        super().__init__(init_cfg)
        self.embed = nn.Conv2d(3, width, 16, 16)
        self.positions = nn.Parameter(torch.zeros(1, 16, width))  # of 4 x 4 patches
        self.layers = nn.Sequential(*(Block(width, num_heads=2, qkv_bias=True) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def no_weight_decay(self):
        return {'positions'}

    def forward(self, image):
        x = self.embed(image)
        size = x.shape[2:]
        positions = self.positions.transpose(1, 2).unflatten(2, (4, 4))
        x = x + F.interpolate(positions, size, mode='bilinear')
        x = self.norm(self.layers(x.flatten(2).transpose(1, 2))).transpose(1, 2).unflatten(2, size)
        return tuple(F.interpolate(x, scale_factor=scale, mode='bilinear') for scale in (4, 2, 1, 0.5))


register_backbone(
    BackboneNames(
        family='plain-vit',
        block='layers.{i}.attn.qkv.weight',
        width='norm.weight',
        sizes={(2, 32): 'plain-vit-xs'},
        reference=[
            ('embed.{wb}', 'patch_embed.proj.{wb}'),
            ('positions', 'pos_embed'),
            ('layers.{i}.{any}', 'blocks.{i}.{any}'),
            'norm.{wb}',
        ],
    )
)
