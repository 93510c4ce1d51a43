"""Query-text contrastive loss (paper §3.3, reference code)."""

import logging
import math
from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F
from mmengine.dist import get_rank
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from ...errors import UserError
from ..precision import at_least_fp32, no_autocast
from .distributed import gather_counts, gather_rows
from .inputs import LossInputs


@cache  # once a process, not once an iteration
def warn_of_single_row() -> None:
    """Warn that the loss has no effect."""
    print_log(
        'the contrastive loss is 0 for a global batch of 1: it compares images with each other',
        'current',
        level=logging.WARNING,
    )


@MODELS.register_module()
class ContrastiveLoss(BaseModule):
    """Pulls the object queries of an image towards its text queries and away from other images' texts.

    As in the reference code, an image is *one* vector, all its N queries flattened, and the loss is CLIP's over the
    images of the global batch: query slot i is compared with text slot i. ``level='query'`` follows the paper: every
    query against every text of the batch. The two directions are added, not averaged.

    Args:
        level: ``'image'`` (reference code) or ``'query'`` (paper).
        weight: of the loss.
        temperature: start of the learnable temperature; its inverse never exceeds 100.
    """

    name, reads_texts = 'contrastive_loss', True

    def __init__(
        self, level: Literal['image', 'query'] = 'image', weight: float = 0.5, temperature: float = 0.07
    ) -> None:
        super().__init__()
        if level not in ('image', 'query'):
            raise UserError(f"ContrastiveLoss.level is 'image' (reference code) or 'query' (paper), not {level!r}")
        self.level, self.weight = level, weight
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / temperature)))

    def forward(self, inputs: LossInputs) -> dict[str, Tensor]:
        """Return ``loss_contrastive``."""
        if inputs.text_queries is None:
            raise UserError('the contrastive loss needs a text_mapper in the model, or set criterion.auxiliary=[]')
        return {'loss_contrastive': self.weight * self.compare(inputs.queries, inputs.text_queries)}

    def compare(self, queries: Tensor, texts: Tensor) -> Tensor:
        """Return the loss, >= 0.

        The mean of each process is weighted by its share of the rows, so that the mean over processes (DDP's rule for
        gradients) equals the loss of one process with the whole batch, even when batches are unequal.

        Args:
            queries: (B, N, C) object queries before the decoder.
            texts: (B, N, C) text queries.
        """
        with no_autocast(queries):
            x, y = self.rows(queries), self.rows(texts)
            counts = gather_counts(len(x), x.device)
            if sum(counts) == 1:
                warn_of_single_row()
            labels = torch.arange(len(x), device=x.device) + sum(counts[: get_rank()])
            scale = self.logit_scale.exp().clamp(max=100)
            loss = F.cross_entropy(scale * x @ gather_rows(y, counts).T, labels, reduction='sum')
            loss = loss + F.cross_entropy(scale * y @ gather_rows(x, counts).T, labels, reduction='sum')
            return loss * (len(counts) / sum(counts))

    def rows(self, slots: Tensor) -> Tensor:
        """Return the vectors to compare, of length 1: images (B, N*C) or queries (B*N, C)."""
        rows = slots.flatten(1) if self.level == 'image' else slots.flatten(0, 1)
        return F.normalize(rows.to(at_least_fp32(rows.dtype)), dim=-1)
