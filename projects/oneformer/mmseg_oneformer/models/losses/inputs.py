"""The inputs of the loss terms."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

from .matcher import Matches


class Targets(NamedTuple):
    """Targets of B images; those of one image are disjoint."""

    index_map: Tensor  # int16 (B, H, W) over the padded batch, m = target m, -1 = none
    labels: Sequence[Tensor]  # B times int64 (M_b,)
    tasks: Sequence[str]  # the task that each image was drawn for


class LossInputs(NamedTuple):
    """One training batch: L predictions (before the decoder and after each layer) of N queries on B images.

    Floats are fp32 or wider, whatever the network computes in, and autocast is off.
    """

    class_logits: Tensor  # (L, B, N, K+1), the last class is "no object"
    mask_embed: Tensor  # (L, B, N, C); a mask is this times the mask features
    mask_features: Tensor  # (B, C, H/4, W/4)
    queries: Tensor  # (B, N, C), before the decoder
    targets: Targets
    text_queries: Tensor | None  # (B, N, C), if a term has ``reads_texts``
    match: Callable[[Tensor, Tensor], Matches]  # class logits and mask embeddings of any L -> matched pairs
