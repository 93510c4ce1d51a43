"""Logits with segments planted in them, to time post-processing: random weights yield none."""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ['planted_logits']

INSIDE, OUTSIDE = 8.0, -12.0
"""Mask logits of a confident network; between them are two or three cells at the edge of a mask."""


def planted_logits(
    size: tuple[int, int],
    num_queries: int = 150,
    num_classes: int = 150,
    num_things: int = 100,
    num_segments: int = 30,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Make logits of one image like those of a trained network, with ``num_segments`` confident queries.

    A third of the segments are stuff: regions that share the whole image. The rest are things, round blobs with dents,
    each in front of the earlier ones, with areas from 0.1 % to 10 % of the image. The other queries predict
    'no object' and have smooth random masks, which are occasionally positive.

    Args:
        size: Height and width of the mask logits, a quarter of the network's input.
        num_queries: N.
        num_classes: K; classes below ``num_things`` are things, the others stuff.
        num_things: Number of classes that are things.
        num_segments: Number of queries with a class score above 0.9, at random places among the N; N at most.
        seed: Of the random numbers.

    Returns:
        ``class_logits`` (N, K+1) and ``mask_logits`` (N, h, w).
    """
    random = torch.Generator().manual_seed(seed)
    num_stuff = num_segments // 3 if num_things else num_segments
    class_logits = torch.randn(num_queries, num_classes + 1, generator=random)
    class_logits[:, -1] += 9
    mask_logits = _smooth(num_queries, size, 6, random) * 4 - 6
    places = torch.randperm(num_queries, generator=random)[:num_segments]
    stuff = torch.randint(min(num_things, num_classes - 1), num_classes, (num_stuff,), generator=random)
    things = torch.randint(max(num_things, 1), (num_segments - num_stuff,), generator=random)
    class_logits[places, torch.cat([stuff, things])] += 15
    if num_segments:
        mask_logits[places] = _regions(num_stuff, num_segments - num_stuff, size, random)
    # Besides blobs: noise on the scale of the cells.
    return class_logits, mask_logits + 0.3 * torch.randn(num_queries, *size, generator=random)


def _regions(num_stuff: int, num_blobs: int, size: tuple[int, int], random: torch.Generator) -> Tensor:
    """Return the masks (num_stuff + num_blobs, h, w) of regions that leave no gap, and of blobs in front of them."""
    masks = []
    if num_stuff:
        fields = _smooth(num_stuff, size, 4, random)
        best = fields.topk(min(2, num_stuff), 0).values
        rival = torch.where(fields == best[0], best[-1], best[0]) if num_stuff > 1 else fields - 1
        masks = list((fields - rival) * (size[0] + size[1]) / 4 - 6)
    rows, columns = torch.meshgrid(*(torch.arange(length, dtype=torch.float32) for length in size), indexing='ij')
    dents = _smooth(num_blobs, size, 8, random)
    for dent in dents:
        share, aspect = 10 ** (-3 + 2 * torch.rand((), generator=random)), torch.rand((), generator=random) + 0.5
        radius = (share * size[0] * size[1] / torch.pi) ** 0.5
        row, column = torch.rand(2, generator=random) * torch.tensor(size)
        distance = ((rows - row).square() * aspect + (columns - column).square() / aspect).sqrt()
        blob = 4 * (radius * (1 + 0.3 * dent) - distance)  # 4 per cell: an edge two or three cells wide
        masks = [torch.minimum(mask, -blob) for mask in masks] + [blob]
    return torch.stack(masks).clamp(OUTSIDE, INSIDE)


def _smooth(count: int, size: tuple[int, int], cells: int, random: torch.Generator) -> Tensor:
    """Return random fields (count, h, w) of mean 0 and variance near 1 that change over a ``cells``-th of the image."""
    coarse = torch.randn(count, 1, cells, cells, generator=random)
    return F.interpolate(coarse, size=size, mode='bicubic', align_corners=False)[:, 0]
