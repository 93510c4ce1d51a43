"""Activation checkpointing: memory for time, with the same losses and gradients.

A part of the network with ``with_cp=True`` (OpenMMLab's name) keeps only the inputs of its layers for the backward
pass, which runs each layer once more before it goes through it (Chen et al., 2016). Dropout draws the same numbers
again. PyTorch's non-reentrant form is used everywhere: it knows DDP, autocast and ``torch.compile``.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

Output = TypeVar('Output')


def run_layer(with_cp: bool, layer: Callable[..., Output], *inputs: object) -> Output:
    """Return ``layer(*inputs)``; with ``with_cp``, while gradients are recorded, only ``inputs`` are kept for them."""
    if not (with_cp and torch.is_grad_enabled()):
        return layer(*inputs)
    if torch.compiler.is_compiling():  # a compiled graph takes no contexts; what it recomputes moves no statistics
        return checkpoint(layer, *inputs, use_reentrant=False)
    return checkpoint(layer, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), KeptStatistics()))


class KeptStatistics(AbstractContextManager[None]):
    """Batch norms that run in here leave their running statistics alone.

    For the second run of a layer: the first has moved them already. Entered once for each backward pass through the
    layer, of which a graph that is retained has several.
    """

    def __enter__(self) -> None:
        """Begin to watch all batch norms."""
        self.held: dict[nn.modules.batchnorm._BatchNorm, float | None] = {}
        self.handle = nn.modules.module.register_module_forward_pre_hook(self._hold)

    def __exit__(self, *error: object) -> None:
        """Let them move their statistics again."""
        self.handle.remove()
        for module, momentum in self.held.items():
            module.momentum = momentum

    def _hold(self, module: nn.Module, inputs: object) -> None:
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training and module.track_running_stats:
            self.held.setdefault(module, module.momentum)
            module.momentum = 0.0
            if module.num_batches_tracked is not None:
                module.num_batches_tracked.sub_(1)  # the layer adds 1


def patch_backbone(module: Any) -> None:
    """Let the backbone in a module of mmdet use this form with ``with_cp=True``.

    mmdet leaves it to PyTorch which form it is, which warns at each start and will raise one day.
    """
    module.cp = SimpleNamespace(checkpoint=partial(run_layer, True))
