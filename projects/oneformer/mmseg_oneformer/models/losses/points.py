"""Point sampling (PointRend, Mask2Former): masks are compared at random points, targets are read off an index map."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Draw = Callable[[int, int, torch.device], Tensor]
"""Draws points: (rows, points, device) -> (rows, points, 2) in 0..1. Tests pass known ones."""


def random_points(rows: int, points: int, device: torch.device) -> Tensor:
    """Uniform points (rows, points, 2)."""
    return torch.rand(rows, points, 2, device=device)


def sample(maps: Tensor, points: Tensor) -> Tensor:
    """Bilinear values (R, C, P) of maps (R, C, h, w) at points (R, P, 2) as (x, y) in 0..1; 0 outside."""
    grid = (2 * points - 1).to(maps.dtype)[:, None]
    return F.grid_sample(maps, grid, align_corners=False)[:, :, 0]


def neighbours(position: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Both neighbours (2, ...) of positions (...) on a line of ``length`` pixels, and their weights, 0 outside."""
    low = position.floor()
    part = position - low
    pixels = torch.stack((low, low + 1))
    return pixels, torch.stack((1 - part, part)) * ((pixels >= 0) & (pixels < length))


def corners(points: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The four pixels around each point and their bilinear weights.

    Args:
        points: (..., 2) as (x, y), 0..1.
        size: height and width of the map.

    Returns:
        Flat pixel index (4, ...), int64, and weight (4, ...), 0 outside the map. Corners come first, since a last axis
        of 2 or 4 is several times slower on the CPU.
    """
    height, width = size
    x, weight_x = neighbours(points[..., 0] * width - 0.5, width)
    y, weight_y = neighbours(points[..., 1] * height - 0.5, height)
    index = y.clamp(0, height - 1).long()[:, None] * width + x.clamp(0, width - 1).long()
    weight = weight_y[:, None] * weight_x
    return index.flatten(0, 1), weight.flatten(0, 1)


def sample_targets(index_map: Tensor, points: Tensor, targets: Tensor) -> Tensor:
    """Values of target masks at points, without making the masks; equal to bilinear sampling of them.

    Args:
        index_map: int (H, W), the target a pixel belongs to, -1 = none.
        points: (R, P, 2), or (1, P, 2) for the same points in every row.
        targets: int (R,), which target each row reads.

    Returns:
        (R, P), 0..1.
    """
    pixel, weight = corners(points, (index_map.shape[0], index_map.shape[1]))
    hit = index_map.flatten()[pixel] == targets[:, None].to(index_map.dtype)  # (4, R, P)
    return (hit * weight).sum(0)


def uncertain_points(logits: Tensor, num_points: int, oversample: float, importance: float, draw: Draw) -> Tensor:
    """Points for the mask losses: mostly where a mask is uncertain, the rest anywhere.

    Args:
        logits: (R, h, w), detached.
        num_points: P.
        oversample: candidates per point.
        importance: share of the P points taken from the most uncertain candidates.
        draw: source of random points.

    Returns:
        (R, P, 2).
    """
    rows = len(logits)
    num_uncertain = int(importance * num_points)
    candidates = draw(rows, int(num_points * oversample), logits.device)
    uncertainty = -sample(logits[:, None], candidates)[:, 0].abs()
    best = uncertainty.topk(num_uncertain, dim=1, sorted=False).indices  # their order doesn't matter
    chosen = candidates.gather(1, best[..., None].expand(-1, -1, 2))
    return torch.cat((chosen, draw(rows, num_points - num_uncertain, logits.device).to(chosen)), dim=1)
