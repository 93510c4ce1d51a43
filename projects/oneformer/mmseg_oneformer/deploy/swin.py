"""Turning mmdet's Swin into ours, which can be traced to a graph for any size.

mmdet counts images by dividing numbers of windows, which ties a graph to one batch size and takes minutes to trace.
Models from before 0.2 use it.
"""

from typing import Any

from torch import nn

from ..models.backbones.swin import SwinBackbone

__all__ = ['traceable_backbone']


def traceable_backbone(backbone: Any) -> nn.Module:
    """Return our Swin, which computes the same, with the weights of mmdet's; any other backbone as it is."""
    if f'{type(backbone).__module__}.{type(backbone).__name__}' != 'mmdet.models.backbones.swin.SwinTransformer':
        return backbone
    stages = [stage.blocks for stage in backbone.stages]
    first = stages[0][0]
    ours = SwinBackbone(
        embed_dims=first.attn.w_msa.embed_dims,
        depths=[len(blocks) for blocks in stages],
        num_heads=[blocks[0].attn.w_msa.num_heads for blocks in stages],
        window_size=first.attn.window_size,
        mlp_ratio=first.ffn.feedforward_channels / first.ffn.embed_dims,
    )
    weights = backbone.state_dict()
    if weights.keys() != ours.state_dict().keys():  # It has parts that ours does not have.
        return backbone
    ours.to(next(backbone.parameters())).load_state_dict(weights)
    return ours.train(backbone.training)
