"""A hook that writes down what a run trains on, and may stop it."""

import os
from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module(force=True)
class RecordSamples(Hook):
    """A line an iteration, its losses bit by bit; a line a sample: photo, task, labels, void pixels, sum of pixels."""

    priority = 'VERY_LOW'

    def __init__(self, raise_after=None):
        self.raise_after = raise_after

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        iteration = runner.iter
        losses = [f'{name}={float(value).hex()}' for name, value in outputs.items() if isinstance(value, torch.Tensor)]
        with Path(runner.work_dir, f'losses_{runner.rank}.txt').open('a') as file:
            file.write(f'{iteration} {" ".join(losses)}\n')
        with Path(runner.work_dir, f'samples_{runner.rank}.txt').open('a') as file:
            for image, sample in zip(data_batch['inputs'], data_batch['data_samples']):
                index_map = sample.gt_targets.index_map
                photo = os.path.relpath(sample.img_path)
                void, pixels = int((index_map == -1).sum()), int(image.long().sum())
                file.write(f'{iteration} {photo} {sample.task} {sample.gt_instances.labels.tolist()} {void} {pixels}\n')
        if iteration + 1 == self.raise_after:
            raise KeyboardInterrupt
