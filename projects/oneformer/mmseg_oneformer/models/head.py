"""Everything after the backbone: features in, class logits and masks of every task out."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..zoo.building import build_part
from .masked_decoder import Predictions


@MODELS.register_module()
class OneFormerHead(BaseModule):
    """Pixel decoder, task token, query initialiser and masked decoder (paper, Figure 2).

    Only what follows the task token depends on the task. Queries therefore carry a task axis, and everything computed
    only from the image is computed once for all tasks.

    Args:
        num_classes: K.
        num_queries: N, the task token's own slot (the last) included.
        channels: C.
        pixel_decoder, task_token, query_initializer, decoder: configs; ``channels`` and ``num_classes`` are filled in.
        use_task_token: if False, learned queries take the place of the token and its copies (paper, Table 4).
    """

    def __init__(
        self,
        num_classes: int,
        pixel_decoder: dict,
        num_queries: int = 150,
        channels: int = 256,
        task_token: dict | None = None,
        query_initializer: dict | None = None,
        decoder: dict | None = None,
        use_task_token: bool = True,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.num_classes, self.num_queries, self.channels = num_classes, num_queries, channels

        def build(config: dict | None, **defaults: object) -> nn.Module:
            return build_part(MODELS, defaults | {'channels': channels} | (config or {}))

        self.pixel_decoder = build(pixel_decoder, type='OneFormerPixelDecoder')
        self.task_token = build(task_token, type='TaskToken') if use_task_token else None
        self.learned_queries = None if use_task_token else nn.Embedding(num_queries, channels)
        self.query_initializer = build(query_initializer, type='QueryInitializer')
        self.query_embed = nn.Embedding(num_queries, channels)
        self.decoder = build(decoder, type='MaskedDecoder', num_classes=num_classes)

    def forward(self, features: Sequence[Tensor], tasks: Sequence[Sequence[str]], every_layer: bool) -> Predictions:
        """Predict T tasks for each image.

        Args:
            features: four levels (B, C_i, H/s, W/s), s = 4, 8, 16, 32.
            tasks: for each of B images, its T task names.
            every_layer: predict before the decoder and after each layer (training), or after the last only.
        """
        mask_features, memory = self.pixel_decoder(features)
        queries = self.initial_queries(mask_features, tasks)
        return self.decoder(queries, self.query_embed.weight, memory, mask_features, every_layer)

    def initial_queries(self, mask_features: Tensor, tasks: Sequence[Sequence[str]]) -> Tensor:
        """Object queries (B, T, N, C) before the decoder; the last is the task token itself."""
        if self.task_token is not None:
            token = self.task_token(tasks, self.decoder.norm).to(mask_features.dtype)[:, :, None]  # (B, T, 1, C)
            return self.queries_of(token, mask_features)
        assert self.learned_queries is not None
        learned = self.learned_queries.weight.expand(len(tasks), len(tasks[0]), -1, -1)
        return self.queries_of(learned[:, :, -1:], mask_features, learned[:, :, :-1])

    def queries_of(self, token: Tensor, mask_features: Tensor, start: Tensor | None = None) -> Tensor:
        """Object queries (B, T, N, C) from task tokens (B, T, 1, C); ``start`` (B, T, N-1, C): by default copies."""
        positions = self.query_embed.weight[:-1]
        if start is None:
            start = token.expand(-1, -1, positions.shape[0], -1)
        return torch.cat((self.query_initializer(start, positions, mask_features), token), dim=2)
