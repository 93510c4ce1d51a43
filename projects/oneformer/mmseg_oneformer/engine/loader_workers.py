"""Batches from loader workers that may stall, or be killed.

Decisions:
* PyTorch raises an error wherever the program happens to be when a worker dies. Here it is raised only while waiting
  for a batch: an iteration that has begun is completed, and the weights are not left half updated.
* PyTorch waits for ever for a worker that stalls (a network drive, a full /dev/shm). Here it waits for ten minutes,
  unless the ``timeout`` of the data loader is set.
"""

import signal
import threading
from types import FrameType
from typing import Any

from torch.utils.data import DataLoader

from ..errors import UserError

__all__ = ['Batches', 'WorkerStopped', 'explain_worker', 'set_timeout']

TIMEOUT = 600.0
"""Seconds to wait for a batch."""

STOPPED = ('killed by signal: Terminated', 'killed by signal: User defined signal 1')
"""How PyTorch reports that a worker received a signal that was meant for the whole run."""


class WorkerStopped(UserError):  # noqa: N818 (an order, not an error)
    """A worker was ended by a signal that asks the run to stop."""


class Batches:
    """The batches of a data loader, as a context manager.

    Args:
        dataloader: Its workers start here.
    """

    def __init__(self, dataloader: DataLoader) -> None:
        set_timeout(dataloader)
        self._batches = iter(dataloader)
        self._waiting = False
        # PyTorch's handler: it checks every worker of this process, and raises an error.
        is_main = threading.current_thread() is threading.main_thread()
        handler = signal.getsignal(signal.SIGCHLD) if is_main and dataloader.num_workers else None
        self._check: Any = handler if callable(handler) else None
        if self._check is not None:
            signal.signal(signal.SIGCHLD, self._on_child)

    def __next__(self) -> Any:
        """Wait for the next batch.

        Raises:
            WorkerStopped: A worker was ended by SIGTERM or SIGUSR1.
            UserError: A worker was killed or stalls.
        """
        self._waiting = True
        try:
            if self._check is not None:  # Workers may have died since the last batch.
                self._check(signal.SIGCHLD, None)
            return next(self._batches)
        except RuntimeError as error:
            if (mistake := explain_worker(error)) is None:
                raise
            raise mistake from error
        except (ConnectionError, EOFError) as error:
            # A batch arrives as a handle, and the worker passes on its memory on request: the worker is gone by now.
            if isinstance(error, UserError) or 'in DataLoader worker' in str(error):
                raise
            raise self._dead_worker(error) from error
        finally:
            self._waiting = False

    def _dead_worker(self, error: Exception) -> UserError:
        try:
            if self._check is not None:
                self._check(signal.SIGCHLD, None)
        except RuntimeError as found:
            if (mistake := explain_worker(found)) is not None:
                return mistake
        return _died(f'{type(error).__name__} while it passed on a batch')

    def close(self) -> None:
        """End the workers now.

        Left to the garbage collector, it would happen in the middle of something else, or never: an error that is being
        reported keeps them alive, and PyTorch would raise another error for each of them that ends.
        """
        shut_down = getattr(self._batches, '_shutdown_workers', None)
        if shut_down is not None:
            shut_down()
        if self._check is not None:
            signal.signal(signal.SIGCHLD, self._check)

    def _on_child(self, number: int, frame: FrameType | None) -> None:
        if self._waiting:
            self._check(number, frame)


def set_timeout(dataloader: DataLoader) -> None:
    """Give a data loader with workers a timeout, if it has none."""
    if dataloader.num_workers and not dataloader.timeout:
        dataloader.timeout = TIMEOUT


def explain_worker(error: RuntimeError) -> UserError | None:
    """Return our error for PyTorch's about a worker that was killed or stalls; None for other errors."""
    text = str(error)
    if text.startswith('DataLoader timed out'):
        return UserError(
            f'No batch arrived within {text.split("after ")[-1].split(" ")[0]} seconds, so a loader worker stalls; '
            'check the disk or network drive with the photos and continue with --resume, or wait longer with '
            'train_dataloader.timeout=SECONDS.'
        )
    if not text.startswith('DataLoader worker (pid'):
        return None
    if any(stopped in text for stopped in STOPPED):
        return WorkerStopped('A loader worker was ended by a signal; continue with --resume.')
    return _died(' '.join(text.split()).rstrip('.'))


def _died(reason: str) -> UserError:
    return UserError(
        f'A loader worker died ({reason}), most often because memory ran out; continue with --resume and fewer '
        'train_dataloader.num_workers, or a larger /dev/shm.'
    )
