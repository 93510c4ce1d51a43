"""Images in memory in their usual forms, converted to (H, W, 3) uint8 BGR, the form of OpenCV and OpenMMLab.

The channel order always has to be stated: an array looks the same either way, and a network that gets the wrong one
silently predicts a little worse. For PIL images it is known.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import UserError

__all__ = ['array_to_bgr', 'check_array', 'check_pillow', 'check_tensor', 'tensor_to_bgr']

ORDERS = ('rgb', 'bgr')


def check_array(array: np.ndarray, channel_order: str | None) -> None:
    """Reject an array that is not an image.

    Args:
        array: uint8 grey (H, W) or (H, W, 1), colour (H, W, 3), or colour with alpha (H, W, 4), which is dropped.
        channel_order: 'rgb' or 'bgr'; grey arrays need none.

    Raises:
        UserError: If it is something else.
    """
    shape = 'x'.join(map(str, array.shape))
    if array.dtype != np.uint8:
        raise UserError(f'An image array has to be uint8 with values 0-255, not {array.dtype} ({shape}); convert it.')
    channels = 1 if array.ndim == 2 else array.shape[2] if array.ndim == 3 else 0
    if channels not in (1, 3, 4) or not array.size:
        raise UserError(f'An image array has to be (H, W), (H, W, 3) or (H, W, 4), not {shape}; put its axes in order.')
    _check_order(channel_order, needed=channels > 1)


def array_to_bgr(array: np.ndarray, channel_order: str | None) -> np.ndarray:
    """Return an array that :func:`check_array` accepts as (H, W, 3) uint8 BGR; not a copy if it has that form."""
    if array.ndim == 2 or array.shape[2] == 1:
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    color = array[:, :, :3]
    return np.ascontiguousarray(color[:, :, ::-1] if channel_order == 'rgb' else color)


def check_tensor(batch: Tensor, channel_order: str | None) -> None:
    """Reject a tensor that is not a batch of images.

    Args:
        batch: (B, 3, H, W), uint8 in 0..255 or floating point in 0..1, as in torchvision.
        channel_order: 'rgb' or 'bgr'.

    Raises:
        UserError: If it is something else.
    """
    shape = 'x'.join(map(str, batch.shape))
    if batch.ndim != 4 or batch.shape[1] != 3 or not batch.numel():
        raise UserError(
            f'A tensor has to be a batch of images (B, 3, H, W), not {shape}; put its axes in order, and one image in '
            'tensor[None].'
        )
    if batch.is_floating_point():
        low, high = (float(value) for value in batch.aminmax())
        if not 0 <= low <= high <= 1:
            raise UserError(
                f'A floating-point tensor has values in 0..1, not {low:g}..{high:g}; divide it by 255 or undo its '
                'normalisation.'
            )
    elif batch.dtype != torch.uint8:
        raise UserError(
            f'A tensor has to be uint8 with values 0-255 or floating point with 0..1, not {batch.dtype}; convert it.'
        )
    _check_order(channel_order, needed=True)


def tensor_to_bgr(image: Tensor, channel_order: str | None) -> np.ndarray:
    """Return one image (3, H, W) of a batch that :func:`check_tensor` accepts, rounded, as (H, W, 3) uint8 BGR."""
    if image.is_floating_point():
        image = (image.detach().float() * 255).round().to(torch.uint8)
    return array_to_bgr(image.permute(1, 2, 0).cpu().numpy(), channel_order)


def check_pillow(image: Image.Image) -> None:
    """Reject PIL images whose values have no known range: 32-bit integers, 16 bits and floating point.

    Raises:
        UserError: If it is one.
    """
    if not all(image.size):
        raise UserError(f'A PIL image of {image.width} x {image.height} has no pixels; give another one.')
    if image.mode[0] in 'IF':
        raise UserError(f'A PIL image of mode {image.mode} has no known range of values; convert it to "L" or "RGB".')


def _check_order(channel_order: str | None, needed: bool) -> None:
    if channel_order not in (*ORDERS, None):
        raise UserError(f'There is no channel_order {channel_order!r}; give "rgb" or "bgr".')
    if needed and channel_order is None:
        raise UserError(
            'Arrays and tensors do not say in which order their channels are; give channel_order="rgb" (PIL, '
            'matplotlib, torchvision) or channel_order="bgr" (OpenCV, OpenMMLab).'
        )
