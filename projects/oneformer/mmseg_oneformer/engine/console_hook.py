"""Console output of training and testing: a header, a line per interval, validation scores, saved checkpoints.

Decisions:
* Printed and not logged: the log file has all of it already, in mmengine's words.
* No dependence on other hooks: a user may replace any of ``default_hooks``.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook, LoggerHook

from ..evaluation.results import HEADLINES, task_of_metric
from ..progress import Progress, format_duration
from .run_header import describe_start, format_facts, short_path, test_facts, training_facts
from .stopwatch import Stopwatch

INTERVAL = 50
"""Iterations between two lines, if the config has no ``LoggerHook`` that sets them."""

FIRST = 5
"""Iterations after which the first line appears, so that the time left is known soon."""

LONG_WAIT = 0.1
"""A line reports the share of the time spent waiting for data if it is at least this."""


class ConsoleHook(Hook):
    """Prints what people want to see of a run; only in the main process."""

    priority = 'VERY_LOW'  # after those that log losses and save checkpoints

    def __init__(self) -> None:
        self._interval = INTERVAL
        self._start, self._printed = 0, 0
        self._stopwatch = Stopwatch(0)
        self._began = 0.0
        self._saved: dict[str, Any] = {}

    def before_train(self, runner: Any) -> None:
        """Print the header; the weights are loaded by now."""
        print(format_facts({**training_facts(runner), 'starts from': describe_start(runner)}))
        print('The time left is known after the first iterations.', flush=True)
        self._interval = next((hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)), INTERVAL)
        self._saved = _checkpoints(runner)
        self._start = self._printed = runner.iter
        self._stopwatch, self._began = Stopwatch(runner.iter), time.monotonic()

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Record that the data have arrived."""
        self._stopwatch.begin()

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Print a line at each interval, after the first iterations and after the last one."""
        done = runner.iter + 1
        self._stopwatch.end(done)
        if done % self._interval == 0 or done in (self._start + FIRST, runner.max_iters):
            print(self._line(runner, done), flush=True)
            self._stopwatch.mark(done)
            self._printed = done
        self._print_saved(runner)

    def after_train(self, runner: Any) -> None:
        """Print that training has finished."""
        count, seconds = runner.iter - self._start, format_duration(time.monotonic() - self._began)
        print(f'Trained {count} iterations in {seconds}; results are in {short_path(runner.work_dir)}', flush=True)

    def before_val_epoch(self, runner: Any) -> None:
        """Start a bar."""
        self._pass, self._pass_began = Progress('validating', len(runner.val_dataloader), 'batches'), time.monotonic()

    def after_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Move the bar."""
        self._pass.update(batch_idx + 1)

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Print the scores."""
        self._pass.close()
        print(f'validation at {runner.iter}:  {format_scores(metrics or {})}', flush=True)
        self._print_saved(runner)
        self._stopwatch.leave_out(time.monotonic() - self._pass_began)

    def before_test(self, runner: Any) -> None:
        """Print the header."""
        print(format_facts(test_facts(runner)), flush=True)

    def before_test_epoch(self, runner: Any) -> None:
        """Start a bar."""
        self._pass = Progress('testing', len(runner.test_dataloader), 'batches')

    def after_test_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Move the bar."""
        self._pass.update(batch_idx + 1)

    def after_test_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Remove the bar; the caller gets the scores."""
        self._pass.close()

    def _line(self, runner: Any, done: int) -> str:
        scalars = runner.message_hub.log_scalars
        parts = [f'{done:>{len(str(runner.max_iters))}}/{runner.max_iters}']
        if 'train/loss' in scalars:
            parts.append(f'loss {scalars["train/loss"].mean(done - self._printed):.3f}')
        rate = scalars.get('train/base_lr') or scalars.get('train/lr')
        if rate is not None:
            parts.append(f'lr {rate.current():.1e}')
        recent, left = self._stopwatch.recent(done), self._stopwatch.seconds_left(done, runner.max_iters)
        if recent is not None:
            parts.append(f'{recent[0]:.2f} s/iter')
            if recent[1] >= LONG_WAIT:
                parts.append(f'{recent[1]:.0%} waiting for data')
        if left is not None:
            parts.append(f'{format_duration(left)} left')
        if torch.cuda.is_available():
            parts.append(f'{torch.cuda.memory_reserved() / 2**30:.1f} GiB')
        return '  '.join(parts)

    def _print_saved(self, runner: Any) -> None:
        found = _checkpoints(runner)
        for name, path in found.items():
            if self._saved.get(name) != path:
                print(f'saved {Path(path).name}{" (best so far)" * name.startswith("best")}', flush=True)
        self._saved = found


def _checkpoints(runner: Any) -> dict[str, Any]:
    """Return the newest checkpoints by their role, as mmengine's CheckpointHook and ours record them."""
    info = runner.message_hub.runtime_info
    return {name: path for name, path in info.items() if name.startswith(('last_ckpt', 'best_ckpt')) and path}


def format_scores(metrics: Mapping[str, Any]) -> str:
    """Return the headline metrics, and those of other libraries, on one line."""
    shown = [name for name in metrics if name in HEADLINES or task_of_metric(name) is None]
    return '  '.join(f'{name} {metrics[name]:.1f}' for name in shown if isinstance(metrics[name], int | float))
