"""Hungarian matching of predictions and targets (DETR, Mask2Former)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor


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
    with torch.autocast(class_logits.device.type, enabled=False):
        exact = torch.promote_types(class_logits.dtype, torch.float32)
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
    """Assign predictions to targets, each at most once, at least total cost.

    Args:
        costs: for each image (L, N, M_b). All travel to the CPU in one transfer.
    """
    device = costs[0].device
    flat = torch.cat([cost.flatten() for cost in costs]).cpu()
    rows: list[Tensor] = []
    for image, part in enumerate(flat.split([cost.numel() for cost in costs])):
        for layer, cost in enumerate(part.view(costs[image].shape).numpy()):
            query, target = linear_sum_assignment(cost)
            pairs = torch.from_numpy(query), torch.from_numpy(target)
            rows.append(torch.stack((torch.full_like(pairs[0], image), torch.full_like(pairs[0], layer), *pairs)))
    return Matches(*torch.cat(rows, dim=1).to(device, non_blocking=True))
