"""mmdet's Mask2Former: our backbone, its own head of the same sizes, our post-processing.

On a GPU its pixel decoder needs mmcv's compiled operator, which knows fp32 only. Where that is missing the peer gets
ours, so that the comparison does not depend on it.
"""

from collections.abc import Sequence
from typing import Any

from mmcv.ops import multi_scale_deform_attn
from mmengine.config import Config, ConfigDict
from torch import Tensor

from mmseg_oneformer.models.ops.ms_deform_attn import ms_deform_attn
from mmseg_oneformer.zoo.configs import config_root

from ..batches import OURS
from ..models import Setting, build
from ..sides import Logits, Side, our_side
from ..steps import Trainee, trainee


def mask2former_model(cfg: Config) -> ConfigDict:
    """Return the config of a Mask2Former with the backbone, widths, depths and queries of our ``cfg``."""
    model: Any = Config.fromfile(config_root() / '_base_/models/mask2former_r50.py').model
    ours = cfg.model.head
    pixels, decoder = ours.pixel_decoder, ours.get('decoder') or {}
    channels = ours.get('channels', 256)
    head = model.panoptic_head
    head.update(
        in_channels=pixels.in_channels,
        feat_channels=channels,
        out_channels=channels,
        num_queries=ours.get('num_queries', 150),
    )
    for positions in (head.positional_encoding, head.pixel_decoder.positional_encoding):
        positions.num_feats = channels // 2
    for part, settings, width in (
        (head.pixel_decoder.encoder, pixels, 1024),
        (head.transformer_decoder, decoder, 2048),
    ):
        part.num_layers = settings.get('num_layers', part.num_layers)
        for block in part.layer_cfg.values():
            block.embed_dims = channels
            if 'feedforward_channels' in block:
                block.feedforward_channels = settings.get('ffn_channels', width)
            else:
                block.num_heads = settings.get('num_heads', 8)
    model.train_cfg.num_points = (cfg.model.get('criterion') or {}).get('num_points', 12544)
    # Assigned, not updated: `update` would merge them into the base's.
    model.backbone = cfg.model.backbone
    model.num_classes, model.thing_ids = ours.num_classes, cfg.model.thing_ids
    model.test_cfg = cfg.model.get('test_cfg') or {}
    model.data_preprocessor = ConfigDict(
        cfg.model.data_preprocessor | {'type': 'mmdet.DetDataPreprocessor', 'pad_mask': True}
    )
    return model


class DeformableAttention:
    """Takes the place of mmcv's autograd function: mmcv's operator where it can run, else ours."""

    @staticmethod
    def apply(value: Tensor, shapes: Tensor, starts: Tensor, locations: Tensor, weights: Tensor, step: int) -> Tensor:
        """Return (B, Q, heads * depth); ``shapes`` is (levels, 2), ``starts`` and ``step`` are not needed."""
        return ms_deform_attn(value, shapes.tolist(), locations, weights)


def build_mask2former(cfg: Config, ours: Any) -> Any:
    """Build it; the backbone has our weights."""
    multi_scale_deform_attn.MultiScaleDeformableAttnFunction = DeformableAttention
    model = build(mask2former_model(cfg))
    model.backbone.load_state_dict(ours.backbone.state_dict())
    return model


def mask2former_side(cfg: Config, ours: Any, size: tuple[int, int]) -> Side:
    """Return it as a side of inference. It has no task input: one pass through its network serves all three tasks."""
    model = build_mask2former(cfg, ours).to(next(ours.parameters()).device).eval()

    def network(images: Tensor, tasks: Sequence[str]) -> list[list[Logits]]:
        classes, masks = model._forward(images, [None] * len(images))
        return [[Logits(*pair)] * len(tasks) for pair in zip(classes[-1], masks[-1])]

    return our_side(model, size, 'mask2former')._replace(network=network)


def mask2former_trainee(cfg: Config, ours: Any, setting: Setting, device: str) -> Trainee:
    """Return it as a side of training, with the optimiser of ``cfg`` and the targets as masks, which it expects."""
    model = build_mask2former(cfg, ours).to(device).train()
    return trainee(model, cfg, setting, device, (*OURS, 'TargetMasks'))
