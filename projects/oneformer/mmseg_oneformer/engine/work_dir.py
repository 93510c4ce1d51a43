"""The work dir of a training: one run at a time, and no leftovers of killed runs.

Decisions:
* The lock is the operating system's, which releases it when the process ends, however it ends. It belongs to one
  process: ``flock`` would live on in loader workers, which end a few seconds after a run that was killed.
* Only the main process locks: the others belong to the same run.
* File systems without locks are used without one.
"""

import fcntl
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError
from ..files import remove_leftovers

__all__ = ['work_dir_lock']

LOCK = '.train.lock'
TEMPORARY = re.compile(r'\.(?:.+\.(\d+)\.(?:pth|png|pt)|last_checkpoint\.(\d+))')
"""The names that ``files.atomic_path`` gives files while they are written; the number is that of a process."""


@contextmanager
def work_dir_lock(work_dir: str | os.PathLike[str], launcher: str = 'none') -> Iterator[None]:
    """Create a work dir, keep other trainings out of it, and remove what killed ones left there.

    Args:
        work_dir: The folder.
        launcher: Who started the processes, of which only the first one locks. Their group need not exist yet.

    Raises:
        UserError: Another training is using it.
    """
    rank = os.environ.get('RANK', os.environ.get('OMPI_COMM_WORLD_RANK', '0'))
    if launcher != 'none' and rank != '0':
        yield
        return
    folder = Path(work_dir)
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:  # Which of the two depends on the system.
            holder = os.pread(handle, 200, 0).decode(errors='replace').strip() or 'unknown'
            raise UserError(
                f'Another training is running in {work_dir} ({holder}); wait for its end, or choose another --work-dir.'
            ) from error
        except OSError:  # The file system has no locks.
            pass
        os.ftruncate(handle, 0)
        os.pwrite(handle, f'process {os.getpid()} on {socket.gethostname()}\n'.encode(), 0)
        remove_leftovers(folder.iterdir(), TEMPORARY)
        yield
    finally:
        os.close(handle)
