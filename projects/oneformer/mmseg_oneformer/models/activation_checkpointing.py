"""Activation checkpointing: less memory for more time, with the same losses and gradients.

A part of the network with ``with_cp=True`` (OpenMMLab's name) keeps only the inputs of its layers for the backward
pass, which runs each layer again to recompute the rest (Chen et al., 2016). Dropout draws the same numbers again.
PyTorch's non-reentrant form is used everywhere: it supports DDP, autocast and ``torch.compile``.
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
    """Return ``layer(*inputs)``; with ``with_cp``, keep only ``inputs`` for the backward pass, if there will be one."""
    if not (with_cp and torch.is_grad_enabled()):
        return layer(*inputs)
    if torch.compiler.is_compiling():  # a compiled graph accepts no contexts; recomputing in it updates no statistics
        return checkpoint(layer, *inputs, use_reentrant=False)
    return checkpoint(layer, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), KeptStatistics()))


class KeptStatistics(AbstractContextManager[None]):
    """Keeps batch norms from updating their running statistics.

    For the second run of a layer: the first has updated them already. Entered once for each backward pass through the
    layer; a retained graph can have several.
    """

    def __enter__(self) -> None:
        """Start watching all batch norms."""
        self.held: dict[nn.modules.batchnorm._BatchNorm, float | None] = {}
        self.handle = nn.modules.module.register_module_forward_pre_hook(self._hold)

    def __exit__(self, *error: object) -> None:
        """Let them update their statistics again."""
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
    """Make the backbone in a module of mmdet use this form with ``with_cp=True``.

    mmdet leaves the choice of form to PyTorch, which warns at each start and will raise an error one day.
    """
    module.cp = SimpleNamespace(checkpoint=partial(run_layer, True))
