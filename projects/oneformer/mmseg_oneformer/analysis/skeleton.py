"""Models and tensors without values: the shapes are all that counting needs."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config, ConfigDict
from torch import nn
from torch._subclasses import FakeTensorMode

from ..models.checkpoint import for_inference
from ..models.skeleton import build_skeleton


def one_task_skeleton(cfg: Config) -> nn.Module:
    """Build the model of ``cfg`` as it answers one task: without the text branch, without values, for evaluation."""
    cfg = for_inference(cfg)
    cfg.model.test_cfg = ConfigDict((cfg.model.get('test_cfg') or {}) | {'tasks': ('panoptic',)})
    return build_skeleton(cfg.model).eval()


@contextmanager
def pretending() -> Iterator[None]:
    """Give every tensor made inside a shape, a dtype and the CPU as its device, and no memory.

    The meta device would not do, as autocast does not know it.
    """
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        yield
