"""Classification of the queries before the decoder, in place of a contrastive loss (paper, Table 5)."""

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..ops import linear
from .inputs import LossInputs
from .set_losses import class_loss


@MODELS.register_module()
class QueryClassification(BaseModule):
    """A linear classifier of the queries before the decoder, matched by its own classes and the first masks.

    Args:
        num_classes: K; filled in from the head.
        channels: C; filled in from the head.
        weight: of the loss.
        no_object_weight: weight of "no object"; filled in from the criterion.
    """

    name = 'query_classifier'

    def __init__(
        self, num_classes: int, channels: int = 256, weight: float = 1.0, no_object_weight: float = 0.1
    ) -> None:
        super().__init__()
        classifier = nn.Linear(channels, num_classes + 1)
        self.weight, self.bias = classifier.weight, classifier.bias  # what checkpoints call them
        self.loss_weight, self.no_object_weight = weight, no_object_weight

    def forward(self, inputs: LossInputs) -> dict[str, Tensor]:
        """Return ``loss_query_cls``."""
        class_logits = linear(inputs.queries, self.weight, self.bias)[None]  # (1, B, N, K+1)
        matches = inputs.match(class_logits, inputs.mask_embed[:1])
        loss = class_loss(class_logits, inputs.targets.labels, matches, self.no_object_weight)
        return {'loss_query_cls': self.loss_weight * loss[0]}
