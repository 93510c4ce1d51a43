"""An orderly end of training: on a signal, at an iteration that all processes agree on, with a checkpoint.

Decisions:
* SIGTERM and SIGUSR1 are what clusters send before they take a machine away. Both mean "save, to resume later".
* The exit status tells the same: 75, ``EX_TEMPFAIL`` of sysexits.h, on which SLURM can requeue.
* A handler only records the signal. The processes of a run receive their signals at different moments, and the one that
  left first would leave the others waiting in a collective operation for ever.
"""

import logging
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, NoReturn

import torch
from mmengine.dist import all_reduce, barrier, get_world_size
from mmengine.hooks import Hook

__all__ = ['REQUEUE', 'StopInValidation', 'StopSignals', 'ValidationStopped', 'leave']

REQUEUE = os.EX_TEMPFAIL
"""Exit status of a run that saved a checkpoint and can be resumed."""


class StopSignals:
    """Records SIGTERM and SIGUSR1 within its block; elsewhere they do what they did before."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> 'StopSignals':
        if threading.current_thread() is threading.main_thread():  # Python allows handlers in no other thread.
            for number in (signal.SIGTERM, signal.SIGUSR1):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: it was not set by Python.

    def note(self, number: signal.Signals) -> None:
        """Behave as if a signal had been received."""
        self.received = number

    def agreed(self) -> bool:
        """Return whether any process of the run received a signal; all of them have to call this together."""
        if get_world_size() == 1:
            return self.received is not None
        flag = torch.tensor(float(self.received is not None))
        all_reduce(flag, 'max')
        return bool(flag)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.note(signal.Signals(number))


class ValidationStopped(Exception):  # noqa: N818 (not an error)
    """The processes agreed to stop in the middle of a validation."""


class StopInValidation(Hook):
    """Lets a validation, which may take minutes, end at once."""

    priority = 'VERY_LOW'

    def __init__(self, signals: StopSignals) -> None:
        self._signals = signals
        self._shared = 0

    def before_val(self, runner: Any) -> None:
        """Count the batches that every process has: after those, some have left the loop and can no longer agree."""
        batches = torch.tensor(float(len(runner.val_dataloader)))
        all_reduce(batches, 'min')
        self._shared = int(batches)

    def after_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Stop if any process received a signal.

        Raises:
            ValidationStopped: One did.
        """
        if batch_idx < self._shared and self._signals.agreed():
            raise ValidationStopped


def leave() -> NoReturn:
    """End this process with status ``REQUEUE``.

    None of several processes may end before the checkpoint is written, and all have to end at once: srun kills those
    still running when the first one ends, and reports their status instead of ours.
    """
    if get_world_size() == 1:
        raise SystemExit(REQUEUE)
    barrier()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(REQUEUE)
