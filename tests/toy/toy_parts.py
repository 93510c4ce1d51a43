"""A model and data set of a few numbers, with everything random that can differ after a resume."""

import os

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, MODELS
from torch import nn
from torch.utils.data import Dataset

from mmseg_oneformer.errors import UserError


@DATASETS.register_module(force=True)
class ToyData(Dataset):
    """Eleven samples; sample 5 is broken on request."""

    seed = 0

    def __init__(self, broken=False):
        self.broken = broken

    def __len__(self):
        return 11

    def __getitem__(self, key):
        pass_number, index = key
        if self.broken and index == 5:
            raise UserError('photo5.jpg is corrupt; get it again.')
        noise = np.random.default_rng((self.seed, pass_number, index)).normal(size=4)
        return {'inputs': torch.tensor(noise + index, dtype=torch.float32)}


@MODELS.register_module(force=True)
class ToyModel(BaseModel):
    """Dropout and noise, so that a wrong RNG state shows."""

    def __init__(self, width=8, norm='BN'):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width))
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(width, 1))
        self.norm = norm

    def forward(self, inputs, mode='loss'):
        x = torch.stack(inputs)
        noise = torch.rand(len(x), 1)
        return {'loss': (self.head(self.backbone(x)) - noise).square().mean()}


@HOOKS.register_module(force=True)
class Record(Hook):
    """Writes each loss to the work dir, and dies where it is told to: at once, or with an exception."""

    priority = 'VERY_LOW'

    def __init__(self, die_after=None, raise_after=None):
        self.die_after, self.raise_after = die_after, raise_after

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        with open(os.path.join(runner.work_dir, 'losses.txt'), 'a') as file:  # noqa: PTH118, PTH123
            file.write(
                f'{batch_idx} {float(outputs["loss"]).hex()} rank{runner.rank} {type(runner.optim_wrapper).__name__}\n'
            )
        if batch_idx + 1 == self.die_after:
            os._exit(9)
        if batch_idx + 1 == self.raise_after:
            raise KeyboardInterrupt
