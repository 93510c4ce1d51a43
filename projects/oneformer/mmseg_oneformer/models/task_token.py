"""The task token: one vector that tells the network which prediction is wanted (paper §3.1)."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..errors import UserError
from ..tasks import CONTEXT_LENGTH, PROMPT_TOKENS, TASKS, check_task
from .layers import MLP
from .precision import at_least_fp32, no_autocast


@MODELS.register_module()
class TaskToken(BaseModule):
    """Maps the 77 raw token ids of "the task is ..." to a vector.

    The ids enter as plain numbers up to 49 407: their products overflow fp16, and bf16 rounds them to other ids. The
    mapping therefore stays in fp32 under any autocast. Only three prompts exist, so it is computed for these and looked
    up.

    Args:
        channels: C.
        kind: ``'mlp'``, two layers normalised by the decoder's own layer norm, is the reference code (published weights
            need it); ``'linear'``, one layer with a norm of its own, follows the paper.
    """

    ids: Tensor

    def __init__(
        self, channels: int = 256, kind: Literal['mlp', 'linear'] = 'mlp', init_cfg: dict | None = None
    ) -> None:
        super().__init__(init_cfg)
        if kind not in ('mlp', 'linear'):
            raise UserError(f"task_token.kind is 'mlp' (reference code) or 'linear' (paper), not {kind!r}")
        self.kind = kind
        self.mlp = MLP(CONTEXT_LENGTH, channels, channels, num_layers=2 if kind == 'mlp' else 1)
        self.norm = nn.LayerNorm(channels) if kind == 'linear' else None
        ids = [PROMPT_TOKENS[task] + (0,) * (CONTEXT_LENGTH - len(PROMPT_TOKENS[task])) for task in TASKS]
        self.register_buffer('ids', torch.tensor(ids), persistent=False)

    def forward(self, tasks: Sequence[Sequence[str]], decoder_norm: nn.LayerNorm) -> Tensor:
        """Return the normalised tokens.

        Args:
            tasks: for each of B images, its T task names.
            decoder_norm: the masked decoder's layer norm, which the reference code shares with the token.

        Returns:
            (B, T, C), fp32 or wider.
        """
        norm = self.norm or decoder_norm
        index = torch.tensor([[TASKS.index(check_task(task)) for task in image] for image in tasks])
        with no_autocast(self.ids):
            exact = at_least_fp32(norm.weight.dtype)
            x = self.ids.to(exact)
            for i, layer in enumerate(self.mlp.layers):
                assert isinstance(layer, nn.Linear)
                x = F.linear(F.relu(x) if i else x, layer.weight.to(exact), layer.bias.to(exact))
            table = F.layer_norm(x, norm.normalized_shape, norm.weight.to(exact), norm.bias.to(exact), norm.eps)
        return table[index.to(table.device, non_blocking=True)]
