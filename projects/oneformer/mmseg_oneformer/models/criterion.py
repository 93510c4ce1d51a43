"""The training losses (REF: Mask2Former's set losses on every layer, OneFormer's contrastive loss)."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.dist import get_world_size
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from .contrastive_loss import ContrastiveLoss
from .distributed import mean_over_ranks
from .head import HeadOutput
from .matcher import CostWeights, Matches, match, matching_cost
from .points import Draw, random_points, sample, sample_targets, uncertain_points

CHUNK = 2**23  # point logits of matching at a time: 32 MB in fp32, at the moment when a step needs most memory


class Targets(NamedTuple):
    """Targets of B images; those of one image are disjoint."""

    index_map: Tensor  # int16 (B, H, W) over the padded batch, m = target m, -1 = none
    labels: Sequence[Tensor]  # B times int64 (M_b,)


@MODELS.register_module()
class OneFormerCriterion(BaseModule):
    """Matches every layer's predictions to the targets and compares them; adds the contrastive loss.

    Masks are compared at points only. Matching uses one set of uniform points an image, shared by all layers and
    queries; the losses use, for each matched mask, points where it is undecided. Full masks are made for matched
    queries only.

    Args:
        num_classes: K.
        channels: C, needed by the query classifier only.
        class_weight, mask_weight, dice_weight: of the losses and of the matching costs.
        contrastive_weight: of the contrastive loss, or of the query classifier's.
        no_object_weight: weight of "no object" in the classification loss.
        num_points: P, points a mask.
        oversample: candidates a point; importance: share of points taken where the mask is most undecided.
        contrastive: ``'image'`` (reference code), ``'query'`` (paper), ``'classification'`` (paper, Table 5: a linear
            classifier on the queries before the decoder instead, matched at the same costs) or None.
    """

    def __init__(
        self,
        num_classes: int,
        channels: int = 256,
        class_weight: float = 2.0,
        mask_weight: float = 5.0,
        dice_weight: float = 5.0,
        contrastive_weight: float = 0.5,
        no_object_weight: float = 0.1,
        num_points: int = 12544,
        oversample: float = 3.0,
        importance: float = 0.75,
        contrastive: Literal['image', 'query', 'classification'] | None = 'image',
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.num_classes = num_classes
        self.weights = CostWeights(class_weight, mask_weight, dice_weight)
        self.contrastive_weight = contrastive_weight
        self.no_object_weight = no_object_weight
        self.num_points, self.oversample, self.importance = num_points, oversample, importance
        self.query_classifier: nn.Linear | None = None
        self.contrastive_loss: ContrastiveLoss | None = None
        if contrastive == 'classification':
            self.query_classifier = nn.Linear(channels, num_classes + 1)
        elif contrastive is not None:
            self.contrastive_loss = ContrastiveLoss(contrastive)

    def forward(
        self, output: HeadOutput, targets: Targets, text_queries: Tensor | None = None, draw: Draw = random_points
    ) -> dict[str, Tensor]:
        """Return the weighted losses by name.

        They are ``loss_cls``, ``loss_mask``, ``loss_dice``, the same as ``d0.`` to ``d8.`` for the earlier layers, and
        ``loss_contrastive`` or ``loss_query_cls``.

        Args:
            output: of the head, every layer, T = 1.
            targets: of the batch.
            text_queries: (B, N, C), when the loss is contrastive.
            draw: source of random points.
        """
        with torch.autocast(output.mask_features.device.type, enabled=False):
            exact = torch.promote_types(output.mask_features.dtype, torch.float32)
            class_logits = output.class_logits[:, :, 0].to(exact)  # (L, B, N, K+1)
            mask_embed = output.mask_embed[:, :, 0].to(exact)  # (L, B, N, C)
            mask_features = output.mask_features.to(exact)
            queries = output.queries[:, 0].to(exact)
            if self.query_classifier is not None:  # one more "layer" in front: own classes, the first layer's masks
                class_logits = torch.cat((self.query_classifier(queries)[None], class_logits))
                mask_embed = torch.cat((mask_embed[:1].detach(), mask_embed))
            matches = self.match(class_logits, mask_embed, mask_features, targets, draw)
            num_targets = class_logits.new_full((), sum(len(labels) for labels in targets.labels))
            num_masks = mean_over_ranks(num_targets).clamp(min=1 / get_world_size())
            losses = torch.stack(
                (
                    self.weights.classes * self.class_loss(class_logits, targets.labels, matches),
                    *self.mask_losses(mask_embed, mask_features, targets, matches, num_masks, draw),
                )
            )  # (3, L)
        named = {}
        if self.query_classifier is not None:
            named['loss_query_cls'] = self.contrastive_weight * losses[0, 0]
            losses = losses[:, 1:]
        last = losses.shape[1] - 1
        for layer in (last, *range(last)):
            prefix = '' if layer == last else f'd{layer}.'
            named |= {f'{prefix}loss_{name}': losses[i, layer] for i, name in enumerate(('cls', 'mask', 'dice'))}
        if self.contrastive_loss is not None:
            if text_queries is None:
                raise ValueError(
                    'the contrastive loss needs a text_mapper in the model, or set criterion.contrastive=None'
                )
            named['loss_contrastive'] = self.contrastive_weight * self.contrastive_loss(queries, text_queries)
        return named

    @torch.no_grad()
    def match(
        self, class_logits: Tensor, mask_embed: Tensor, mask_features: Tensor, targets: Targets, draw: Draw
    ) -> Matches:
        """Match all L layers of all B images; the mask logits exist at the drawn points only."""
        points = draw(len(mask_features), self.num_points, mask_features.device).to(mask_features.dtype)
        features = sample(mask_features, points)  # (B, C, P)
        costs = []
        for b, labels in enumerate(targets.labels):
            target = torch.arange(len(labels), device=labels.device)
            point_targets = sample_targets(targets.index_map[b], points[b : b + 1], target)
            step = max(1, CHUNK // (mask_embed.shape[2] * self.num_points))
            parts = [
                matching_cost(classes, embed @ features[b], labels, point_targets, self.weights)
                for classes, embed in zip(class_logits[:, b].split(step), mask_embed[:, b].split(step), strict=True)
            ]
            costs.append(torch.cat(parts))
        return match(costs)

    def class_loss(self, class_logits: Tensor, labels: Sequence[Tensor], matches: Matches) -> Tensor:
        """Cross-entropy over K+1 classes, "no object" weighted down, as a weighted mean over all ranks: (L,).

        Args:
            class_logits: (L, B, N, K+1).
            labels: B times (M_b,).
            matches: pairs of all layers.
        """
        expected = torch.full(class_logits.shape[:3], self.num_classes, device=class_logits.device)
        offsets = torch.tensor([0, *map(len, labels)]).cumsum(0)[:-1].to(class_logits.device, non_blocking=True)
        expected[matches.layer, matches.image, matches.query] = torch.cat(list(labels))[
            offsets[matches.image] + matches.target
        ]
        weight = class_logits.new_ones(self.num_classes + 1)
        weight[-1] = self.no_object_weight
        loss = F.cross_entropy(class_logits.flatten(0, 2), expected.flatten(), weight, reduction='none')
        total = mean_over_ranks(weight[expected].sum(dim=(1, 2)))
        return loss.view_as(expected).sum(dim=(1, 2)) / total

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
        untouched = (mask_embed.sum() + mask_features.sum()) * 0  # keeps every parameter in the graph without a target
        cross_entropy = mask_embed.new_zeros(layers) + untouched
        dice = mask_embed.new_zeros(layers) + untouched
        stop = 0
        for b, labels in enumerate(targets.labels):
            # Sorted by image, and in each layer as many as can be: counted without waiting for the GPU.
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


def mask_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy, mean over points: (R, P) -> (R,)."""
    return F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction='none').mean(dim=1)


def mask_dice(logits: Tensor, targets: Tensor) -> Tensor:
    """Dice loss with 1 added above and below the line: (R, P) -> (R,), 0..1."""
    probability = logits.sigmoid()
    overlap = 2 * (probability * targets).sum(dim=1) + 1
    return 1 - overlap / (probability.sum(dim=1) + targets.sum(dim=1) + 1)
