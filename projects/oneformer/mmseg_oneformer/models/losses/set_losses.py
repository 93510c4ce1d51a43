"""Mask2Former's losses of a set of predictions: for classes, and for masks at points, after every layer."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.dist import get_world_size
from torch import Tensor

from .distributed import mean_over_ranks
from .inputs import LossInputs, Targets
from .matcher import CostWeights, Matches
from .points import Draw, sample, sample_targets, uncertain_points


class SetLosses:
    """Compares matched predictions with their targets, and all others with "no object".

    Masks are compared at points only, mostly where a mask is uncertain; full masks are made for matched queries only.

    Args:
        weights: of the losses, which are those of the matching costs.
        no_object_weight: weight of "no object" in the classification loss.
        num_points: P, points per mask.
        oversample: candidates per point.
        importance: share of points taken where the mask is most uncertain.
    """

    def __init__(
        self, weights: CostWeights, no_object_weight: float, num_points: int, oversample: float, importance: float
    ) -> None:
        self.weights, self.no_object_weight = weights, no_object_weight
        self.num_points, self.oversample, self.importance = num_points, oversample, importance

    def __call__(self, inputs: LossInputs, draw: Draw) -> dict[str, Tensor]:
        """Return ``loss_cls``, ``loss_mask``, ``loss_dice``, with prefixes ``d0.`` to ``d8.`` for earlier layers."""
        matches = inputs.match(inputs.class_logits, inputs.mask_embed)
        labels = inputs.targets.labels
        num_targets = inputs.class_logits.new_full((), sum(map(len, labels)))
        num_masks = mean_over_ranks(num_targets).clamp(min=1 / get_world_size())
        classes = class_loss(inputs.class_logits, labels, matches, self.no_object_weight)
        masks = self.mask_losses(inputs.mask_embed, inputs.mask_features, inputs.targets, matches, num_masks, draw)
        losses = torch.stack((self.weights.classes * classes, *masks))  # (3, L)
        last = losses.shape[1] - 1
        named: dict[str, Tensor] = {}
        for layer in (last, *range(last)):
            prefix = '' if layer == last else f'd{layer}.'
            named |= {f'{prefix}loss_{name}': losses[i, layer] for i, name in enumerate(('cls', 'mask', 'dice'))}
        return named

    def mask_losses(
        self,
        mask_embed: Tensor,
        mask_features: Tensor,
        targets: Targets,
        matches: Matches,
        num_masks: Tensor,
        draw: Draw,
    ) -> tuple[Tensor, Tensor]:
        """Weighted cross-entropy and dice of the matched masks, each (L,), sums over masks divided by ``num_masks``."""
        layers = len(mask_embed)
        untouched = (mask_embed.sum() + mask_features.sum()) * 0  # without targets, all parameters stay in the graph
        cross_entropy = mask_embed.new_zeros(layers) + untouched
        dice = mask_embed.new_zeros(layers) + untouched
        stop = 0
        for b, labels in enumerate(targets.labels):
            # Sorted by image, and as many in each layer as possible: counted without waiting for the GPU.
            start, stop = stop, stop + layers * min(mask_embed.shape[2], len(labels))
            if not len(labels):
                continue
            here = slice(start, stop)
            layer, query, target = matches.layer[here], matches.query[here], matches.target[here]
            logits = torch.einsum('rc,chw->rhw', mask_embed[layer, b, query], mask_features[b])
            with torch.no_grad():
                points = uncertain_points(logits, self.num_points, self.oversample, self.importance, draw)
                expected = sample_targets(targets.index_map[b], points.to(logits.dtype), target)
            point_logits = sample(logits[:, None], points)[:, 0]  # (R, P)
            cross_entropy = cross_entropy.index_add(0, layer, mask_cross_entropy(point_logits, expected))
            dice = dice.index_add(0, layer, mask_dice(point_logits, expected))
        return self.weights.mask * cross_entropy / num_masks, self.weights.dice * dice / num_masks


def class_loss(class_logits: Tensor, labels: Sequence[Tensor], matches: Matches, no_object_weight: float) -> Tensor:
    """Cross-entropy over K+1 classes, "no object" weighted down, as a weighted mean over all ranks: (L,).

    Args:
        class_logits: (L, B, N, K+1).
        labels: B times (M_b,).
        matches: pairs of all layers.
        no_object_weight: weight of the last class.
    """
    no_object = class_logits.shape[-1] - 1
    expected = torch.full(class_logits.shape[:3], no_object, device=class_logits.device)
    offsets = torch.tensor([0, *map(len, labels)]).cumsum(0)[:-1].to(class_logits.device, non_blocking=True)
    expected[matches.layer, matches.image, matches.query] = torch.cat(list(labels))[
        offsets[matches.image] + matches.target
    ]
    weight = class_logits.new_ones(no_object + 1)
    weight[-1] = no_object_weight
    loss = F.cross_entropy(class_logits.flatten(0, 2), expected.flatten(), weight, reduction='none')
    total = mean_over_ranks(weight[expected].sum(dim=(1, 2)))
    return loss.view_as(expected).sum(dim=(1, 2)) / total


def mask_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy, mean over points: (R, P) -> (R,)."""
    return F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction='none').mean(dim=1)


def mask_dice(logits: Tensor, targets: Tensor) -> Tensor:
    """Dice loss with 1 added to numerator and denominator: (R, P) -> (R,), 0..1."""
    probability = logits.sigmoid()
    overlap = 2 * (probability * targets).sum(dim=1) + 1
    return 1 - overlap / (probability.sum(dim=1) + targets.sum(dim=1) + 1)
