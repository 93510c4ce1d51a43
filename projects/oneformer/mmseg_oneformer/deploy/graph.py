"""The network as one graph: photos and task numbers in, logits out."""

from typing import NamedTuple

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from ..models.masked_decoder import mask_logits
from ..tasks import TASKS

__all__ = ['OneFormerGraph', 'example_inputs']


class Logits(NamedTuple):
    """Of T tasks for each of B images."""

    class_logits: Tensor
    """(B, T, N, K+1)."""
    mask_logits: Tensor
    """(B, T, N, H/4, W/4)."""


class OneFormerGraph(nn.Module):
    """What is exported: normalisation, network, and a table of the three task tokens to choose from.

    The token of a task depends on the weights alone, so its text is not in the graph: a number is enough.

    Args:
        model: A ``OneFormer`` in evaluation mode.

    Raises:
        ValueError: If the model has no task token.
    """

    mean: Tensor
    deviation: Tensor
    tokens: Tensor

    def __init__(self, model: BaseModel) -> None:
        super().__init__()
        head = model.head
        if head.task_token is None:
            raise ValueError('This model has no task token to choose answers by; export one with use_task_token=True.')
        self.backbone, self.head = model.backbone, head
        with torch.no_grad():
            tokens = head.task_token([TASKS], head.decoder.norm)[0]  # (3, C)
        self.register_buffer('tokens', tokens)
        self.register_buffer('mean', model.data_preprocessor.mean)
        self.register_buffer('deviation', model.data_preprocessor.std)

    def forward(self, image: Tensor, task: Tensor) -> Logits:
        """Answer T tasks for each image.

        Args:
            image: (B, 3, H, W) float32 RGB in 0..255, H and W multiples of 32, padded with the mean.
            task: (T,) int64, indices of ``TASKS``: semantic 0, instance 1, panoptic 2.
        """
        features = self.backbone((image - self.mean) / self.deviation)
        mask_features, memory = self.head.pixel_decoder(features)
        token = self.tokens[task][None, :, None].expand(image.shape[0], task.shape[0], 1, -1)
        queries = self.head.queries_of(token, mask_features)
        positions = self.head.query_embed.weight
        predictions = self.head.decoder(queries, positions, memory, mask_features, every_layer=False)
        return Logits(predictions.class_logits[-1], mask_logits(predictions.mask_embed[-1], mask_features))


def example_inputs(size: tuple[int, int], batch: int = 2, tasks: int = 2) -> tuple[Tensor, Tensor]:
    """Return a noise image batch (B, 3, H, W) in 0..255 and task numbers, to trace or time a graph with."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(batch, 3, *size, generator=generator) * 255, torch.arange(tasks)
