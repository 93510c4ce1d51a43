"""Hungarian matching of predictions and targets (DETR, Mask2Former)."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import scipy  # its `optimize` is imported when it is first used
import torch
import torch.nn.functional as F
from torch import Tensor

from ..precision import at_least_fp32, no_autocast
from .points import Draw, sample, sample_targets

CHUNK = 2**23  # point logits matched at a time: 32 MB in fp32, at the moment when a step needs most memory


class CostWeights(NamedTuple):
    """Weights of the matching costs."""

    classes: float = 2.0
    mask: float = 5.0
    dice: float = 5.0


def matching_cost(
    class_logits: Tensor, point_logits: Tensor, labels: Tensor, point_targets: Tensor, weights: CostWeights
) -> Tensor:
    """Cost of every pair of prediction and target of one image.

    The sums over points are matrix products: cross-entropy of logit x and target t is softplus(x) - x t.

    Args:
        class_logits: (L, N, K+1).
        point_logits: (L, N, P), mask logits at P points.
        labels: int (M,).
        point_targets: (M, P), 0..1, the target masks at the same points.
        weights: of the three costs.

    Returns:
        (L, N, M), at least fp32, finite: a NaN or infinite cost becomes 100, so that one bad query can't stop a run.
    """
    with no_autocast(class_logits):
        exact = at_least_fp32(class_logits.dtype)
        logits, targets = point_logits.to(exact), point_targets.to(exact).T  # (P, M)
        probability = logits.sigmoid()
        cost_class = -class_logits.to(exact).softmax(-1)[..., labels]
        cost_mask = (F.softplus(logits).sum(-1, keepdim=True) - logits @ targets) / logits.shape[-1]
        overlap = 2 * (probability @ targets) + 1
        cost_dice = 1 - overlap / (probability.sum(-1, keepdim=True) + targets.sum(0) + 1)
        cost = weights.classes * cost_class + weights.mask * cost_mask + weights.dice * cost_dice
        return cost.nan_to_num(nan=100.0, posinf=100.0, neginf=100.0)


class Matches(NamedTuple):
    """Matched pairs of all layers and images, sorted by image, then layer; each a 1-d int64 tensor of equal length."""

    image: Tensor
    layer: Tensor
    query: Tensor
    target: Tensor


def match(costs: Sequence[Tensor]) -> Matches:
    """Assign predictions to targets, each at most once, with the lowest total cost.

    Args:
        costs: for each image (L, N, M_b). All are moved to the CPU in one transfer.
    """
    device = costs[0].device
    flat = torch.cat([cost.flatten() for cost in costs]).cpu()
    rows: list[Tensor] = []
    for image, part in enumerate(flat.split([cost.numel() for cost in costs])):
        for layer, cost in enumerate(part.view(costs[image].shape).numpy()):
            query, target = scipy.optimize.linear_sum_assignment(cost)
            pairs = torch.from_numpy(query), torch.from_numpy(target)
            rows.append(torch.stack((torch.full_like(pairs[0], image), torch.full_like(pairs[0], layer), *pairs)))
    return Matches(*torch.cat(rows, dim=1).to(device, non_blocking=True))


def point_matcher(
    mask_features: Tensor,
    index_map: Tensor,
    labels: Sequence[Tensor],
    weights: CostWeights,
    num_points: int,
    draw: Draw,
) -> Callable[[Tensor, Tensor], Matches]:
    """Draw one set of points per image, and return the function that matches any predictions at them.

    Args:
        mask_features: (B, C, h, w).
        index_map: int (B, H, W), the target of each pixel, -1 = none.
        labels: B times (M_b,).
        weights: of the costs.
        num_points: P.
        draw: source of random points.

    Returns:
        (class logits (L, B, N, K+1), mask embeddings (L, B, N, C)) -> matches of all layers and images. Mask logits
        are computed at the points only.
    """
    with torch.no_grad():
        points = draw(len(mask_features), num_points, mask_features.device).to(mask_features.dtype)
        features = sample(mask_features, points)  # (B, C, P)

    @torch.no_grad()
    def match_layers(class_logits: Tensor, mask_embed: Tensor) -> Matches:
        step = max(1, CHUNK // (mask_embed.shape[2] * num_points))
        costs = []
        for b, own in enumerate(labels):
            target = torch.arange(len(own), device=own.device)
            point_targets = sample_targets(index_map[b], points[b : b + 1], target)
            parts = [
                matching_cost(classes, embed @ features[b], own, point_targets, weights)
                for classes, embed in zip(class_logits[:, b].split(step), mask_embed[:, b].split(step), strict=True)
            ]
            costs.append(torch.cat(parts))
        return match(costs)

    return match_layers
