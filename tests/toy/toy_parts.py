"""A model and data set of a few numbers, with everything random that can differ after a resume."""

import os
import signal
import time

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS
from torch import nn
from torch.utils.data import Dataset

from mmseg_oneformer.errors import UserError


@DATASETS.register_module(force=True)
class ToyData(Dataset):
    """Eleven samples, or fewer; sample 5 is broken on request, or NaN, or kills or stalls the worker that loads it."""

    seed = 0

    def __init__(self, broken=False, size=11, fault=None, classes=('a', 'b')):
        self.broken, self.size, self.fault = broken, size, fault
        self.metainfo = {'classes': classes}

    def __len__(self):
        return self.size

    def __getitem__(self, key):
        pass_number, index = key if isinstance(key, tuple | list) else (0, key)
        if self.broken and index == 5:
            raise UserError('photo5.jpg is corrupt; get it again.')
        if index == 5 and self.fault == 'invalid':
            return {'inputs': torch.full((4,), torch.nan)}
        if index == 5 and self.fault == 'kill':
            os.kill(os.getpid(), signal.SIGKILL)
        if index == 5 and self.fault == 'stall':
            time.sleep(1000)
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
        if mode == 'predict':
            return self.head(self.backbone(x)).detach()
        noise = torch.rand(len(x), 1)
        return {'loss': (self.head(self.backbone(x)) - noise).square().mean()}


@HOOKS.register_module(force=True)
class Record(Hook):
    """Writes each loss to the work dir, and dies where it is told to: at once, or with an exception."""

    priority = 'VERY_LOW'

    def __init__(self, die_after=None, raise_after=None, signal_after=None, raise_in_val=None, signal_in_val=None):
        self.die_after, self.raise_after, self.signal_after = die_after, raise_after, signal_after
        self.raise_in_val, self.signal_in_val = raise_in_val, signal_in_val

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == self.raise_in_val:
            raise KeyboardInterrupt
        if runner.iter == self.signal_in_val:
            os.kill(os.getpid(), signal.SIGTERM)

    def after_val_epoch(self, runner, metrics=None):
        with open(os.path.join(runner.work_dir, 'scores.txt'), 'a') as file:  # noqa: PTH118, PTH123
            file.write(f'{runner.iter} {metrics["score"].hex()}\n')

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        with open(os.path.join(runner.work_dir, 'losses.txt'), 'a') as file:  # noqa: PTH118, PTH123
            file.write(
                f'{batch_idx} {float(outputs["loss"]).hex()} rank{runner.rank} {type(runner.optim_wrapper).__name__}\n'
            )
        if batch_idx + 1 == self.die_after:
            os._exit(9)
        if batch_idx + 1 == self.raise_after:
            raise KeyboardInterrupt
        for rank, name in (self.signal_after or {}).get(batch_idx + 1, {}).items():
            if runner.rank == rank:
                os.kill(os.getpid(), signal.Signals[name])


@METRICS.register_module(force=True)
class ToyMetric(BaseMetric):
    """Something that the weights decide: it rises and falls during a training."""

    default_prefix = None

    def process(self, data_batch, data_samples):
        self.results.extend(float(value) for value in data_samples)

    def compute_metrics(self, results):
        return {'score': float(np.mean(results))}
