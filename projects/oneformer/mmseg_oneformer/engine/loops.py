"""A training loop whose results do not change if the run is killed and resumed.

mmengine's iteration loop replays the data to get back to where a run stopped, and its checkpoints hold no RNG state.
Here nothing has to be replayed or stored, since iteration k depends only on (seed, rank, k):

* The sampler computes the samples of iteration k (``PassSampler``), and a sample's augmentation is keyed by
  (seed, pass, index), whichever worker loads it.
* Before every iteration all RNGs are seeded with a value of (seed, rank, k): dropout, sampled points, noise.

So a run that was killed at any moment and resumed from any of its checkpoints computes exactly what the uninterrupted
run did (bit by bit on the CPU), with any number of workers. Storing RNG states instead would need those of every rank,
and mmengine calls ``save_checkpoint`` on the main rank only.
"""

import logging
import math
import random
import signal
from collections import deque
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import EMAHook
from mmengine.logging import print_log
from mmengine.registry import LOOPS
from mmengine.runner import IterBasedTrainLoop
from mmengine.runner.base_loop import BaseLoop
from mmengine.runner.utils import calc_dynamic_intervals
from torch import nn
from torch.utils.data import DataLoader

from ..console import say
from ..errors import UserError
from .loader_workers import Batches, WorkerStopped, explain_worker, set_timeout
from .stopping import StopInValidation, StopSignals, ValidationStopped, leave


def seed_iteration(seed: int, rank: int, iteration: int) -> None:
    """Seed the RNGs of Python, numpy and torch (all devices) with a value that depends only on the three arguments."""
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
        dataloader: A data loader or its config; its sampler is endless and needs
            ``set_start(iteration, batch_size)`` and ``seed``, like ``PassSampler``.
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
        self.recent_batches: deque[tuple[int, Any]] = deque(maxlen=2)
        """The last batches with their iterations, for reporting which photos were in them."""
        self._batches: Batches
        self._skipped: set[str] = set()
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
            # grid_sample has no deterministic gradient on a GPU: warn about it; mmengine's setting would end the run.
            # Here and not earlier, since resuming sets it again.
            torch.use_deterministic_algorithms(True, warn_only=True)
        with StopSignals() as self._signals:
            self._accept_stops_in_validation()
            self._enter_stream()
            try:
                self._make_up_validation()
                while self._iter < self._max_iters and not self.stop_training:
                    self._train_one()
            finally:
                self._batches.close()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _train_one(self) -> None:
        self.runner.model.train()
        batch = self._next_batch()
        self.recent_batches.append((self._iter, batch))
        self._note_skipped(batch)
        seed_iteration(self.runner.seed, get_rank(), self._iter)
        self.run_iter(batch)
        self._decide_current_val_interval()
        if self._is_validation_due():
            self._validate()

    def _next_batch(self) -> Any:
        """Return the next batch, or end the run if one of its processes was told to.

        Partial gradients are not in a checkpoint, so a run ends between two updates only.
        """
        if self._iter % self._accumulated:
            return next(self._batches)
        batch = None
        try:
            if self._signals.received is None:
                batch = next(self._batches)
        except WorkerStopped:
            self._signals.note(signal.SIGTERM)
        if self._signals.agreed():
            self._save_and_leave()
        return batch

    def _note_skipped(self, batch: Any) -> None:
        """Log photos that could not be read, each once.

        Raises:
            UserError: There are more than ``max_unreadable`` of the data set.
        """
        for sample in batch.get('data_samples', ()) if isinstance(batch, dict) else ():
            for fault in sample.metainfo.get('skipped_photos', ()):
                if fault in self._skipped:
                    continue
                self._skipped.add(fault)
                limit = self.dataloader.dataset.max_unreadable
                if len(self._skipped) > limit:
                    raise UserError(
                        f'{fault} It is photo {len(self._skipped)} of this kind; max_unreadable is {limit}.'
                    )
                print_log(f'{fault} Another one is trained on in its place.', 'current', level=logging.WARNING)

    def _validate(self) -> None:
        """Run the validation; a signal ends it, and it is run again on resuming."""
        set_timeout(self.runner.val_dataloader)
        try:
            self.runner.val_loop.run()
            return
        except ValidationStopped:
            pass
        except RuntimeError as error:
            mistake = explain_worker(error)
            if isinstance(mistake, WorkerStopped):
                self._signals.note(signal.SIGTERM)
            if mistake is None:
                raise
            if self._signals.received is None:
                raise mistake from error
            self._signals.agreed()
        for hook in self.runner.hooks:
            if isinstance(hook, EMAHook):
                hook._swap_ema_parameters()  # As after a validation: the model has its own weights again.
        self._save_and_leave()

    def _make_up_validation(self) -> None:
        """Run the validation in which the run was killed, if it was."""
        self._decide_current_val_interval()
        done = self.runner.message_hub.runtime_info.get('validated_iter') == self._iter
        if self._iter and self._is_validation_due() and not done:
            say(f'The validation at iteration {self._iter} was not finished; it is done now.')
            self._validate()

    def _accept_stops_in_validation(self) -> None:
        if self.runner.val_loop is not None:
            self.runner.register_hook(StopInValidation(self._signals))

    def _save_and_leave(self) -> None:
        """Save a checkpoint and end this process; if there are several, all of them get here."""
        saved = [hook.save_now(self.runner) for hook in self.runner.hooks if hasattr(hook, 'save_now')]
        self._batches.close()
        name = self._signals.received.name if self._signals.received is not None else 'A signal to another process'
        say(
            f'{name}: stopped after iteration {self._iter} of {self._max_iters}; '
            + (f'{saved[0].name} is saved, --resume continues.' if saved and saved[0] else 'no checkpoint was saved.')
        )
        leave()

    def _enter_stream(self) -> None:
        """Start the workers at the first sample of the current iteration.

        Raises:
            UserError: The sampler cannot start in the middle, or gradients were being accumulated when the checkpoint
                was written (they are not in it).
        """
        accumulated = self._accumulated
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
        # On resuming, the seed is restored only after the data loader has been built with another one.
        sampler.seed = self.runner.seed
        self.dataloader.dataset.seed = self.runner.seed
        sampler.set_start(self._iter, batches.batch_size)
        self._batches = Batches(self.dataloader)
        if accumulated > 1:
            say(
                f'{self._max_iters} iterations with accumulative_counts={accumulated} are '
                f'{math.ceil(self._max_iters / accumulated)} updates of the weights; schedules, validation and '
                'checkpoints count iterations.'
            )

    @property
    def _accumulated(self) -> int:
        """Iterations per update of the weights."""
        return getattr(self.runner.optim_wrapper, '_accumulative_counts', 1)

    def _is_validation_due(self) -> bool:
        if self.runner.val_loop is None or self._iter < self.val_begin:
            return False
        return self._iter % self.val_interval == 0 or self._iter == self._max_iters
