"""What the network needs from its backbone: four levels of features, at strides 4, 8, 16, 32, of known widths."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError

STRIDES = (4, 8, 16, 32)

SIDE = 128
"""Width and height, in pixels, of the image that a backbone is checked with."""


def check_levels(backbone: nn.Module, neck: nn.Module | None, channels: Sequence[int]) -> None:
    """Raise an error unless a backbone, with its neck, gives the levels that the pixel decoder takes.

    The check runs a copy on the meta device, so that nothing is computed and no state of the backbone changes.

    Args:
        backbone: Maps images (B, 3, H, W) to levels.
        neck: Maps these to levels (B, C_i, H/s, W/s), unless the backbone already gives them.
        channels: C_i, the pixel decoder's ``in_channels``.

    Raises:
        UserError: The levels differ, or the backbone cannot take an image of this size.
    """
    try:
        levels = [
            tuple(level.shape[1:])
            for level in _levels_of_shapes(backbone if neck is None else nn.Sequential(backbone, neck))
        ]
    except (RuntimeError, AssertionError, ValueError, TypeError, IndexError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip('.')
        raise UserError(
            f'The backbone fails on an image of {SIDE} x {SIDE} pixels ({reason}); it has to take images of any size '
            'whose sides are multiples of 32 (of a timm ViT: dynamic_img_size=True).'
        ) from error
    expected = [(width, SIDE // stride, SIDE // stride) for width, stride in zip(channels, STRIDES)]
    if levels != expected:
        raise UserError(
            f'The backbone gives {_describe(levels)}, but the head takes {_describe(expected)}; set '
            'head.pixel_decoder.in_channels to the widths and, to change the strides, out_indices of the backbone or '
            "model.neck, such as dict(type='mmseg.Feature2Pyramid', ...)."
        )


def _levels_of_shapes(network: nn.Module) -> Sequence[Tensor]:
    """Run a copy of ``network`` whose tensors are on the meta device."""
    tensors = [*network.parameters(), *network.buffers()]
    # deepcopy takes each tensor's copy from here, so that the weights are never duplicated.
    on_meta: dict[int, Any] = {id(tensor): _on_meta(tensor) for tensor in tensors}
    shapes = copy.deepcopy(network, on_meta)
    shapes.eval()  # on a line of its own, since mmdet's ResNet returns None
    for module in shapes.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            vars(module)['forward'] = _same  # a batch norm on the meta device imports torch's compiler
    with torch.no_grad(), torch.device('meta'):
        return shapes(torch.zeros(1, 3, SIDE, SIDE))


def _same(x: Tensor) -> Tensor:
    return x


def _on_meta(tensor: Tensor) -> Tensor:
    empty = torch.empty_like(tensor, device='meta')
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


def _describe(levels: Sequence[tuple[int, ...]]) -> str:
    """Return levels (C, H, W) as text, such as '256 channels at stride 4, 512 at 8'."""
    texts = [f'{level[0]} at stride {SIDE // level[1]}' if len(level) == 3 else str(level) for level in levels]
    return f'{len(levels)} levels ({", ".join(texts)} pixels)' if texts else 'no levels'
