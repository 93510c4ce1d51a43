"""ConvNeXt (Liu et al., 2022): timm's stem and stages, with a norm behind each stage."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from timm.layers import LayerNorm2d
from timm.models import convnext
from torch import Tensor


@MODELS.register_module()
class ConvNeXt(BaseModule):
    """ConvNeXt with levels at strides 4, 8, 16, 32.

    Parameters have timm's names, directly below this module. The reference decays the weights of *all* its norms
    (they are no norms to PyTorch): ``paramwise_cfg=dict(backbone_norm_decay=True)``.

    Args:
        depths: blocks of each stage.
        channels: widths of the stages.
        drop_path_rate: probability of leaving out the last block's branch; that of the first is 0.
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
