"""Models without values: names, shapes and types of all tensors, built in a moment and without memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.overrides import TorchFunctionMode

from ..checkpoints.checkpoint import for_inference
from ..zoo.building import build_part


class _RealSchedules(TorchFunctionMode):
    """Keeps ``torch.linspace`` real: backbones read their drop-path rates from it while they are built."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        return func(*args, **(kwargs | {'device': 'cpu'} if func is torch.linspace else kwargs))


def build_skeleton(model: ConfigDict | dict) -> nn.Module:
    """Build a model on the meta device.

    Args:
        model: ``model`` of a config.
    """
    # The mode entered last handles a call first; the device's own mode has to handle it after ours.
    with DefaultScope.overwrite_default_scope('mmdet'), torch.device('meta'), _RealSchedules():
        return build_part(MODELS, model)


def one_task_skeleton(cfg: Config) -> nn.Module:
    """Build the model of ``cfg`` for inference of one task, in evaluation mode, without text branch and values."""
    cfg = for_inference(cfg)
    cfg.model.test_cfg = ConfigDict((cfg.model.get('test_cfg') or {}) | {'tasks': ('panoptic',)})
    return build_skeleton(cfg.model).eval()


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable parameters; frozen batch norms, buffers in the reference code, do not count."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


@contextmanager
def pretending() -> Iterator[None]:
    """Give every tensor made in this context a shape, a dtype and the CPU as its device, but no memory.

    The meta device would not do, as autocast does not support it.
    """
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        yield
