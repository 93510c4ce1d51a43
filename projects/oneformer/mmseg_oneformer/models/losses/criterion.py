"""The training loss: set losses on every layer, and the terms that a config adds."""

import inspect
from collections.abc import Sequence
from typing import Any

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from ...errors import UserError
from ...zoo.building import build_part
from ..masked_decoder import Predictions
from ..precision import at_least_fp32, no_autocast
from .inputs import LossInputs, Targets
from .matcher import CostWeights, point_matcher
from .points import Draw, random_points
from .set_losses import SetLosses

MOVED = ('contrastive', 'contrastive_weight')
"""Options that became a term of ``auxiliary``."""


@MODELS.register_module()
class OneFormerCriterion(BaseModule):
    """The sum of named terms: Mask2Former's set losses, and ``auxiliary`` ones such as OneFormer's contrastive loss.

    A term is a module with a ``name`` of its own, under which its parameters are stored, and a ``forward`` from
    :class:`LossInputs` to weighted losses by name. ``reads_texts = True`` requests the text queries. Matching uses one
    set of uniform points per image, shared by all layers, queries and terms.

    Args:
        num_classes: K.
        channels: C.
        class_weight, mask_weight, dice_weight: of both the loss and the matching cost.
        no_object_weight: weight of "no object" in classification losses.
        num_points: P, points per mask.
        oversample: candidates per point.
        importance: share of points taken where the mask is most uncertain.
        auxiliary: configs of further terms, by default the reference code's contrastive loss. ``num_classes``,
            ``channels`` and ``no_object_weight`` are filled in where a term has them.

    Raises:
        UserError: Two terms have the same name, or an option of an earlier version is set.
    """

    def __init__(
        self,
        num_classes: int,
        channels: int = 256,
        class_weight: float = 2.0,
        mask_weight: float = 5.0,
        dice_weight: float = 5.0,
        no_object_weight: float = 0.1,
        num_points: int = 12544,
        oversample: float = 3.0,
        importance: float = 0.75,
        auxiliary: Sequence[dict] | None = ({'type': 'ContrastiveLoss'},),
        init_cfg: dict | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__(init_cfg)
        if unknown:
            raise UserError(_describe_unknown(unknown, class_weight))
        self.weights = CostWeights(class_weight, mask_weight, dice_weight)
        self.set_losses = SetLosses(self.weights, no_object_weight, num_points, oversample, importance)
        shared = {'num_classes': num_classes, 'channels': channels, 'no_object_weight': no_object_weight}
        self.auxiliary: list[nn.Module] = []  # a plain list, since each is registered under its own name
        for config in auxiliary or ():
            term = _build_term(config, shared)
            if term.name in self._modules:
                raise UserError(f'Two terms of the loss are called {term.name}; give one of them another name.')
            self.add_module(term.name, term)
            self.auxiliary.append(term)

    @property
    def reads_texts(self) -> bool:
        """Whether a term needs text queries."""
        return any(getattr(term, 'reads_texts', False) for term in self.auxiliary)

    def forward(
        self, predictions: Predictions, targets: Targets, text_queries: Tensor | None = None, draw: Draw = random_points
    ) -> dict[str, Tensor]:
        """Return the weighted losses by name: those of :class:`SetLosses`, and those of the auxiliary terms.

        Args:
            predictions: of every layer, T = 1.
            targets: of the batch.
            text_queries: (B, N, C), when a term reads them.
            draw: source of random points.
        """
        with no_autocast(predictions.mask_features):
            exact = at_least_fp32(predictions.mask_features.dtype)
            mask_features = predictions.mask_features.to(exact)
            labels, num_points = targets.labels, self.set_losses.num_points
            inputs = LossInputs(
                predictions.class_logits[:, :, 0].to(exact),
                predictions.mask_embed[:, :, 0].to(exact),
                mask_features,
                predictions.queries[:, 0].to(exact),
                targets,
                text_queries,
                point_matcher(mask_features, targets.index_map, labels, self.weights, num_points, draw),
            )
            losses = self.set_losses(inputs, draw)
            for term in self.auxiliary:
                losses |= term(inputs)
        return losses


def _build_term(config: dict, shared: dict[str, Any]) -> Any:
    """Build a term of the loss; it gets the ``shared`` values that it takes and its config does not set."""
    kind = MODELS.get(config['type']) if isinstance(config['type'], str) else config['type']
    taken = inspect.signature(kind).parameters if kind is not None else {}
    return build_part(MODELS, {key: value for key, value in shared.items() if key in taken} | config)


def _describe_unknown(options: dict[str, Any], class_weight: float) -> str:
    """Return the sentence for unknown options of the criterion, with the remedy for those of earlier versions."""
    if not options.keys() & set(MOVED):
        return f'criterion has no option {", ".join(options)}; see docs/configs.md.'
    kind, weight = options.get('contrastive', 'image'), options.get('contrastive_weight', 0.5)
    if kind == 'classification':
        term = f"type='QueryClassification', weight={weight * class_weight}"
    else:
        term = f"type='ContrastiveLoss', level={kind!r}, weight={weight}"
    return (
        f'criterion.{" and criterion.".join(key for key in MOVED if key in options)} became a term of the loss: write '
        f'criterion=dict(auxiliary={[] if kind is None else f"[dict({term})]"}) instead.'
    )
