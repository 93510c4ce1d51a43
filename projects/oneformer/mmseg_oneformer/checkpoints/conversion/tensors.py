"""What has to be done to tensors, besides renaming them, and buffers that follow from a formula."""

import math

import torch
from torch import Tensor

from .keys import Order

NO_OBJECT_WEIGHT = 0.1
"""Weight of "no object" in the classification loss of every published model."""


def unfold_order(x: Tensor) -> Tensor:
    """Reorder the 4C inputs of Swin's patch merging to mmdet's order.

    The reference concatenates the four pixels of a patch column by column, each with all its channels. mmdet unfolds:
    channel by channel, the pixels row by row.

    Args:
        x: (..., 4C), a weight or norm that acts on merged patches.
    """
    return x.unflatten(-1, (4, -1))[..., [0, 2, 1, 3], :].transpose(-1, -2).flatten(-2)


def concatenation_order(x: Tensor) -> Tensor:
    """Undo ``unfold_order``."""
    return x.unflatten(-1, (-1, 4)).transpose(-1, -2)[..., [0, 2, 1, 3], :].flatten(-2)


PATCH_MERGING = Order(unfold_order, concatenation_order)


def relative_position_index(window: int) -> Tensor:
    """Row of Swin's bias table for each pair of a window's positions (Swin's formula): int64 (window², window²).

    Raises:
        ValueError: ``window`` is no size.
    """
    if window < 1:
        raise ValueError(f'A window is at least 1 wide, not {window}; the bias table is broken.')
    rows, columns = torch.meshgrid(torch.arange(window), torch.arange(window), indexing='ij')
    positions = torch.stack((rows, columns)).flatten(1)  # (2, window²)
    distance = positions[:, :, None] - positions[:, None] + window - 1
    return distance[0] * (2 * window - 1) + distance[1]


def window_of(table: Tensor) -> int:
    """Return the width of the windows that a bias table ((2w - 1)², heads) is for.

    Raises:
        ValueError: ``table`` is no table.
    """
    if table.dim() != 2:
        raise ValueError(f'A bias table has two dimensions, not the shape {tuple(table.shape)}; the file is broken.')
    return (math.isqrt(table.shape[0]) + 1) // 2


def class_weights(num_classes: int) -> Tensor:
    """Weights of the classification loss (K+1,): 1 for each class, ``NO_OBJECT_WEIGHT`` for "no object"."""
    weights = torch.ones(num_classes + 1)
    weights[-1] = NO_OBJECT_WEIGHT
    return weights
