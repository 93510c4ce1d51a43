"""A training step split into what both sides of a comparison have."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from torch import Tensor

from .batches import OURS, to_device, training_batch
from .models import Setting
from .stages import Part, no_part


class Trainee(NamedTuple):
    """A model to train."""

    loss: Callable[[Part], Tensor]
    """The loss of its batch, including preprocessing."""
    optim_wrapper: OptimWrapper


def train_step(trainee: Trainee, autocast: Callable[[], AbstractContextManager[Any]], part: Part = no_part) -> None:
    """Do what mmengine's loop does with one batch."""
    with autocast():
        loss = trainee.loss(part)
    with part('backward'):
        trainee.optim_wrapper.backward(loss)
    with part('optimiser'):
        trainee.optim_wrapper.step()
        trainee.optim_wrapper.zero_grad()


def trainee(model: Any, cfg: Config, setting: Setting, device: str, steps: tuple[str, ...] = OURS) -> Trainee:
    """Return a detector with mmdet's interface and the optimiser of ``cfg``."""
    batch = to_device(training_batch(cfg, setting, steps), device)

    def loss(part: Part) -> Tensor:
        with part('preprocessing'):
            data = model.data_preprocessor(batch, True)
        losses = model.loss(data['inputs'], data['data_samples'])
        return model.parse_losses(losses)[0]

    return Trainee(loss, build_optim_wrapper(model, cfg.optim_wrapper))
