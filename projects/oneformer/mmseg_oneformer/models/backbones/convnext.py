"""ConvNeXt (Liu et al., 2022): timm's stem and stages, with a norm after each stage."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor

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

FILES = 'https://dl.fbaipublicfiles.com/convnext'


@MODELS.register_module()
class ConvNeXt(BaseModule):
    """ConvNeXt with levels at strides 4, 8, 16, 32.

    Parameters have timm's names, directly below this module. The reference code applies weight decay to *all* its norms
    (PyTorch does not count them as norms): ``paramwise_cfg=dict(backbone_norm_decay=True)``.

    Args:
        depths: blocks of each stage.
        channels: widths of the stages.
        drop_path_rate: probability of dropping the last block's branch; that of the first is 0.
        layer_scale: initial factor on every branch.
        with_cp: activation checkpointing of each block.
    """

    def __init__(
        self,
        depths: Sequence[int],
        channels: Sequence[int],
        drop_path_rate: float = 0.0,
        layer_scale: float = 1.0,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        # Here, since it imports torchvision and torch's compiler, which takes longer than PyTorch itself.
        from timm.layers import LayerNorm2d
        from timm.models import convnext

        super().__init__(init_cfg)
        network = convnext.ConvNeXt(
            num_classes=0,
            depths=tuple(depths),
            dims=tuple(channels),
            drop_path_rate=drop_path_rate,
            ls_init_value=layer_scale,
            norm_eps=1e-6,
        )
        network.set_grad_checkpointing(with_cp)
        self.stem, self.stages = network.stem, network.stages
        for i, width in enumerate(channels):
            self.add_module(f'norm{i}', LayerNorm2d(width, eps=1e-6))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return levels (B, channels[i], H/s, W/s) at strides s = 4, 8, 16, 32 of normalised images (B, 3, H, W)."""
        x = self.stem(image)
        levels = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            levels.append(getattr(self, f'norm{i}')(x))
        return tuple(levels)


REFERENCE: list[Names] = [
    ('stem.{j}.{wb}', 'downsample_layers.0.{j}.{wb}'),
    ('stages.{i}.downsample.{j}.{wb}', 'downsample_layers.{i}.{j}.{wb}'),
    *under(
        'stages.{i}.blocks.{j}.',
        'stages.{i}.{j}.',
        [
            'gamma',
            ('conv_dw.{wb}', 'dwconv.{wb}'),
            'norm.{wb}',
            ('mlp.fc1.{wb}', 'pwconv1.{wb}'),
            ('mlp.fc2.{wb}', 'pwconv2.{wb}'),
        ],
    ),
    'norm{i}.{wb}',
]

HUB: list[Names] = [
    ('stem.0.{wb}', 'embeddings.patch_embeddings.{wb}'),
    ('stem.1.{wb}', 'embeddings.layernorm.{wb}'),
    ('stages.{i}.downsample.{j}.{wb}', 'encoder.stages.{i}.downsampling_layer.{j}.{wb}'),
    *under(
        'stages.{i}.blocks.{j}.',
        'encoder.stages.{i}.layers.{j}.',
        [
            ('gamma', 'layer_scale_parameter'),
            ('conv_dw.{wb}', 'dwconv.{wb}'),
            ('norm.{wb}', 'layernorm.{wb}'),
            ('mlp.fc1.{wb}', 'pwconv1.{wb}'),
            ('mlp.fc2.{wb}', 'pwconv2.{wb}'),
        ],
    ),
    *HUB_LEVEL_NORMS,
]


def hub_config(state: State, backbone: Mapping[str, Any]) -> dict[str, Any]:
    """Return transformers' settings."""
    return {
        'out_features': HUB_STAGES,
        'drop_path_rate': backbone.get('drop_path_rate', 0.0),
        'model_type': 'convnext',
        'hidden_sizes': [len(state[f'stages.{i}.blocks.0.gamma']) for i in range(4)],
        'depths': [len(keys_like(state, f'stages.{i}.blocks.{{j}}.norm.weight')) for i in range(4)],
        'num_stages': 4,
        'patch_size': 4,
        'layer_scale_init_value': 1.0,
    }


register_backbone(
    BackboneNames(
        family='convnext',
        block='stages.{i}.blocks.{j}.conv_dw.weight',
        width='stem.0.weight',
        sizes={(36, 192): 'convnext-l', (36, 256): 'convnext-xl'},
        reference=REFERENCE,
        hub=HubNames(HUB, hub_config),
        start_new=('norm{i}.{wb}',),
        files={
            'convnext_large_22k_1k_384': BackboneFile(
                f'{FILES}/convnext_large_22k_1k_384.pth',
                'ConvNeXt-L, ImageNet-22k, then 1k, 384 pixels',
                'convnext_large.fb_in22k_ft_in1k_384',
            ),
            'convnext_xlarge_22k_1k_384_ema': BackboneFile(
                f'{FILES}/convnext_xlarge_22k_1k_384_ema.pth',
                'ConvNeXt-XL, ImageNet-22k, then 1k, 384 pixels, averaged weights',
                'convnext_xlarge.fb_in22k_ft_in1k_384',
            ),
        },
    )
)
