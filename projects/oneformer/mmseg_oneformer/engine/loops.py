"""A training loop that a kill cannot change.

mmengine's iteration loop replays the data to get back to where a run stopped, and no RNG state is in its checkpoints.
Here nothing has to be replayed or stored, since what iteration k does follows from (seed, rank, k) alone:

* The sampler computes the samples of iteration k (``PassSampler``), and a sample's augmentation is keyed by
  (seed, pass, index), whichever worker makes it.
* Before every iteration all RNGs are seeded with a value of (seed, rank, k): dropout, sampled points, noise.

So a run that was killed at any moment and resumed from any of its checkpoints computes exactly what the uninterrupted
run did (bit by bit on the CPU), with any number of workers. Storing RNG states instead would need those of every rank,
and mmengine calls ``save_checkpoint`` on the main rank only.
"""

import math
import random
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.registry import LOOPS
from mmengine.runner import IterBasedTrainLoop
from mmengine.runner.base_loop import BaseLoop
from mmengine.runner.utils import calc_dynamic_intervals
from torch import nn
from torch.utils.data import DataLoader

from ..console import say
from ..errors import UserError


def seed_iteration(seed: int, rank: int, iteration: int) -> None:
    """Seed the RNGs of Python, numpy and torch (all devices) with a value that only the three arguments decide."""
    # SeedSequence mixes: neighbouring iterations and ranks get unrelated streams, which seed + iteration would not.
    words = np.random.SeedSequence((seed, rank, iteration)).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))
    torch.manual_seed(int(words[2]))


@LOOPS.register_module()
class ResumableIterLoop(IterBasedTrainLoop):
    """Iteration-based training that resumes exactly, without replaying the data.

    Args:
        runner: The Runner; its seed is the run's. If the config has none, mmengine draws one, stores it in the
            checkpoint and restores it on resuming.
        dataloader: A data loader or its config; its sampler needs ``set_start(iteration, batch_size)`` and
            ``seed``, as ``PassSampler`` has them, and never ends.
        max_iters: Length of training, in iterations.
        val_begin: First iteration after which validation may run.
        val_interval: Iterations between validations; there is always one after the last iteration.
        dynamic_intervals: Pairs (iteration, interval): from that iteration on, the validation interval.
    """

    def __init__(
        self,
        runner: Any,
        dataloader: DataLoader | dict,
        max_iters: int,
        val_begin: int = 1,
        val_interval: int = 1000,
        dynamic_intervals: list[tuple[int, int]] | None = None,
    ) -> None:
        self.dataloader_iterator: Any = None
        # Not super().__init__: it starts the workers at once, before it is known where training begins.
        BaseLoop.__init__(self, runner, dataloader)
        if int(max_iters) != max_iters or max_iters < 1:
            raise UserError(f'train_cfg.max_iters has to be a whole number of at least 1, not {max_iters}.')
        self._max_iters, self._max_epochs = int(max_iters), 1
        self._iter = self._epoch = 0
        self.val_begin, self.val_interval = val_begin, val_interval
        self.stop_training = False  # EarlyStoppingHook sets it.
        self.dynamic_milestones, self.dynamic_intervals = calc_dynamic_intervals(val_interval, dynamic_intervals)
        runner.visualizer.dataset_meta = getattr(self.dataloader.dataset, 'metainfo', None)

    def run(self) -> nn.Module:
        """Train from the current iteration to the last one and return the model."""
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        if torch.are_deterministic_algorithms_enabled():
            # grid_sample has no deterministic gradient on a GPU: warn of it, where mmengine's setting ends the run.
            # Here and not earlier, since resuming sets it once more.
            torch.use_deterministic_algorithms(True, warn_only=True)
        self._enter_stream()
        try:
            while self._iter < self._max_iters and not self.stop_training:
                self._train_one()
        finally:
            # Ends the workers now. Left to the garbage collector it happens in the middle of something else, and they
            # are waited for, one after the other.
            self.dataloader_iterator = None
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _train_one(self) -> None:
        self.runner.model.train()
        batch = next(self.dataloader_iterator)
        seed_iteration(self.runner.seed, get_rank(), self._iter)
        self.run_iter(batch)
        self._decide_current_val_interval()
        if self._is_validation_due():
            self.runner.val_loop.run()

    def _enter_stream(self) -> None:
        """Start the workers at the first sample of the current iteration.

        Raises:
            UserError: The sampler cannot start in the middle, or gradients were being accumulated when the checkpoint
                was written (they are not in it).
        """
        accumulated = getattr(self.runner.optim_wrapper, '_accumulative_counts', 1)
        if self._iter % accumulated and self._iter < self._max_iters:
            raise UserError(
                f'The checkpoint is of iteration {self._iter}, in the middle of {accumulated} accumulated ones, and '
                'partial gradients are not stored; set the checkpoint interval to a multiple of accumulative_counts.'
            )
        batches: Any = self.dataloader.batch_sampler
        sampler: Any = getattr(batches, 'sampler', None)
        if not hasattr(sampler, 'set_start'):
            raise UserError(
                f'ResumableIterLoop cannot resume with {type(sampler).__name__}; set train_dataloader.sampler to '
                "dict(type='PassSampler')."
            )
        if not hasattr(self.dataloader.dataset, 'seed'):
            raise UserError(
                f'ResumableIterLoop cannot train on {type(self.dataloader.dataset).__name__}: the keys of PassSampler '
                'mean nothing to a wrapper; use PanopticDataset, SemanticDataset, InstanceDataset or MixedDataset.'
            )
        # On resuming, the seed is restored only after the data loader was built with another one.
        sampler.seed = self.runner.seed
        self.dataloader.dataset.seed = self.runner.seed
        sampler.set_start(self._iter, batches.batch_size)
        self.dataloader_iterator = iter(self.dataloader)
        if accumulated > 1:
            say(
                f'{self._max_iters} iterations with accumulative_counts={accumulated} are '
                f'{math.ceil(self._max_iters / accumulated)} updates of the weights; schedules, validation and '
                'checkpoints count iterations.'
            )

    def _is_validation_due(self) -> bool:
        if self.runner.val_loop is None or self._iter < self.val_begin:
            return False
        return self._iter % self.val_interval == 0 or self._iter == self._max_iters
