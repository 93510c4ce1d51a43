"""Resizing of mask logits from stride 4 of the padded input to the size of the photo, as in the reference code."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmengine.structures import BaseDataElement
from torch import Tensor


class ImageSize(NamedTuple):
    """The sizes (height, width) in pixels that an image goes through before and after the network."""

    padded: tuple[int, int]
    """What the network saw: the largest image of the batch, rounded up to the size divisor."""
    image: tuple[int, int]
    """The resized image inside the padded one, at its top left."""
    original: tuple[int, int]
    """The image as it was given; predictions have this size."""

    @classmethod
    def of(cls, sample: BaseDataElement, padded: Sequence[int], rescale: bool = True) -> 'ImageSize':
        """Return the sizes of a data sample in a batch that was padded to ``padded`` (height, width).

        Without ``rescale`` predictions have the size of the network's input instead of the photo's.
        """
        image = sample.img_shape[:2]
        return cls((padded[0], padded[1]), image, sample.ori_shape[:2] if rescale else image)


def resize_masks(mask_logits: Tensor, size: ImageSize) -> Tensor:
    """Bring mask logits to the original size: bilinear to the padded size, crop, bilinear to the original size.

    Args:
        mask_logits: (N, h, w).
        size: The sizes of the image.

    Returns:
        Logits (N, H, W) at the original size.
    """
    masks = resize(mask_logits, size.padded)
    return resize(masks[:, : size.image[0], : size.image[1]], size.original)


def resize(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (N, h, w) bilinearly; at the same size that is exactly the identity, and skipped."""
    if tuple(masks.shape[-2:]) == tuple(size):
        return masks
    return F.interpolate(masks[None], size=size, mode='bilinear', align_corners=False)[0]


def resize_matrix(low: int, padded: int, image: int, original: int) -> Tensor:
    """Return the matrix (original, low) that does both resizes of :func:`resize_masks` along one axis, on the CPU.

    Its columns are the unit vectors as PyTorch resizes them, so no formula is repeated here.
    """
    units = F.interpolate(torch.eye(low)[None], size=padded, mode='linear', align_corners=False)[..., :image]
    return F.interpolate(units, size=original, mode='linear', align_corners=False)[0].T
