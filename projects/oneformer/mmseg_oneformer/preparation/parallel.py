"""Processing of many pictures on all cores of a machine, with a progress bar, resumable after an interruption.

Decisions:
* Each finished picture is a line in a journal beside the JSON to be written. A line is valid only while the sources
  have the size and time, and the products the checksum, that it records; so changed or damaged files are made again.
* The journal is removed at the end: the JSON itself shows that everything is done. A run on a finished data set
  therefore computes everything again, writes only what differs, and thus verifies the files on disk.
* A run holds a lock (``flock``) on its journal, which is released when the process ends, however it ends: a second run
  into the same files waits a moment and is then rejected. Incomplete files of a killed run are removed by the next.
* Workers exit when the main process is killed, since a pool's workers would otherwise wait for ever.
"""

import errno
import json
import multiprocessing
import os
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import cv2

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from ..datasets.doctor import available_cores
from ..errors import UserError
from ..progress import Progress

__all__ = ['Job', 'hold_journal', 'run_jobs', 'write_if_changed']

FORKING_PAYS = 8
"""Number of pictures below which starting processes takes longer than the work."""
WAIT = 10.0
"""Seconds that a run waits for another one's lock: the workers of a killed run take a moment to exit."""


class Job(NamedTuple):
    """One picture to be converted.

    Attributes:
        key: Its name, unique among the jobs.
        sources: Files that are read.
        products: Files that are written.
        details: What else the work needs; plain data, since it is sent to another process.
    """

    key: str
    sources: tuple[str, ...]
    products: tuple[str, ...]
    details: Any = None


Work = Callable[[Job], dict]


@contextmanager
def hold_journal(journal: Path, targets: Sequence[Path]) -> Iterator[None]:
    """Keep other runs from the files of a journal; remove it if the block ends without an exception.

    Args:
        journal: The journal of :func:`run_jobs`.
        targets: Files that are written when all pictures are done.

    Raises:
        UserError: Another run holds the lock.
    """
    journal.parent.mkdir(parents=True, exist_ok=True)
    with _locked(journal):
        for target in targets:
            for path in target.parent.glob(f'.*{target.suffix}'):
                if re.fullmatch(rf'\.{re.escape(target.stem)}\.\d+', path.stem):
                    path.unlink(missing_ok=True)  # by files.atomic_path of a run that was killed
        yield
        journal.unlink(missing_ok=True)


def _locked(journal: Path) -> IO[str]:
    """Return the journal, open and locked until it is closed."""
    end = time.monotonic() + WAIT
    while True:
        file = journal.open('a', encoding='utf-8')
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                return file  # A file system without locks: it is used without one.
            file.close()
            if time.monotonic() > end:
                raise UserError(
                    f'Another run writes the files of {journal.with_suffix("").name.lstrip(".")} in {journal.parent}; '
                    'wait for its end, or choose another --out.'
                ) from None
            time.sleep(0.1)
            continue
        # The run that held it may have removed it in the meantime: then the lock is on a deleted file.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), journal.stat()):
                return file
        file.close()


def run_jobs(
    work: Work, jobs: Sequence[Job], journal: Path, settings: Any, processes: int | None, description: str
) -> list[dict]:
    """Do ``work`` on all ``jobs`` and return the results in their order.

    Args:
        work: Makes the products of a job and returns the data that the JSON needs: plain data, the same for the same
            sources.
        jobs: Jobs with unique keys.
        journal: File that records finished jobs, left behind if the run is interrupted; see :func:`hold_journal`.
        settings: Plain data that the results depend on; a journal written with others is ignored.
        processes: Number of processes; None: one per core.
        description: Text in front of the progress bar.

    Raises:
        UserError: A picture cannot be converted, or a process was killed.
    """
    if processes is not None and processes < 1:
        raise UserError(f'--jobs must be at least 1, got {processes}.')
    header = json.dumps(settings, sort_keys=True)
    for folder in {Path(product).parent for job in jobs for product in job.products}:
        for path in folder.glob('.*.part'):
            path.unlink(missing_ok=True)  # by write_if_changed of a run that was killed
    finished = _read_journal(journal, header, jobs)
    waiting = [job for job in jobs if job.key not in finished]
    journal.parent.mkdir(parents=True, exist_ok=True)
    # Rewritten: entries that did not pass the check are dropped, and so is a last line that was cut off.
    with journal.open('w', encoding='utf-8') as file:
        file.write(header + '\n')
        file.writelines(json.dumps([key, stamp, result]) + '\n' for key, (stamp, result) in finished.items())
        file.flush()
        results = _stream(work, waiting, processes or available_cores())
        with closing(Progress(description, len(jobs), 'pictures')) as bar:
            for job, result in zip(waiting, results):
                stamp = _stamp(job)
                finished[job.key] = (stamp, result)
                file.write(json.dumps([job.key, stamp, result]) + '\n')
                file.flush()
                bar.update(len(finished))
    return [finished[job.key][1] for job in jobs]


def write_if_changed(path: str | Path, data: bytes) -> None:
    """Make ``path`` hold ``data``, replacing it in one step if it holds anything else.

    The temporary file has one name per target, so that a run that continues after a kill removes the leftovers.
    """
    path = Path(path)
    if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.part')
    temporary.write_bytes(data)
    temporary.replace(path)


def _stream(work: Work, jobs: Sequence[Job], processes: int) -> Iterator[dict]:
    """Yield the results in order."""
    processes = min(processes, len(jobs))
    if processes <= 1 or len(jobs) < FORKING_PAYS:
        yield from map(work, jobs)
        return
    method = 'fork' if 'fork' in multiprocessing.get_all_start_methods() else None
    context = multiprocessing.get_context(method)
    try:
        with ProcessPoolExecutor(processes, mp_context=context, initializer=_start_worker) as pool:
            yield from pool.map(work, jobs, chunksize=max(1, min(16, len(jobs) // (4 * processes))))
    except BrokenProcessPool as error:
        raise UserError(
            'A process was killed, most likely because memory ran out; run the command again with a smaller --jobs, '
            'finished pictures are kept.'
        ) from error


def _start_worker() -> None:
    cv2.setNumThreads(0)  # OpenCV's threads do not survive a fork; with 0 the children do not wait for them.
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _stamp(job: Job) -> list:
    """Return what a journal records about a job's files; None for one that does not exist."""
    sources: list = []
    for source in job.sources:
        path = Path(source)
        status = path.stat() if path.is_file() else None
        sources.append(status and [status.st_size, status.st_mtime_ns])
    products = [zlib.crc32(Path(name).read_bytes()) if Path(name).is_file() else None for name in job.products]
    return [sources, products]


def _read_journal(journal: Path, header: str, jobs: Sequence[Job]) -> dict[str, tuple[list, dict]]:
    """Return stamps and results of the finished jobs whose files are unchanged."""
    if not journal.is_file():
        return {}
    lines = journal.read_text(encoding='utf-8', errors='replace').split('\n')
    if lines[0] != header:
        return {}
    by_key = {job.key: job for job in jobs}
    finished: dict[str, tuple[list, dict]] = {}
    for line in lines[1:]:
        try:
            key, stamp, result = json.loads(line)
        except ValueError:
            continue  # Cut off when the run was killed.
        if key in by_key and _stamp(by_key[key]) == stamp:
            finished[key] = (stamp, result)
    return finished
