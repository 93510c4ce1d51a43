"""Drawn files for all readers: right, nearly right, damaged. Each is accepted, or refused in a sentence that names it.

python -m tests.soak.fuzzing --inputs 10000 --seed 0 [--readers NAME ...] [--first NUMBER]

Every input is read in a process whose memory and time are limited. What ends it otherwise is counted and named: a
traceback, a sentence that names no file, a crash, a hang, more memory than allowed, a file written elsewhere.
``--first NUMBER --inputs 1`` repeats one input. Exit status: 1 if there was any of these.
"""

import argparse
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple

import cv2
import torch

from mmseg_oneformer.errors import UserError
from mmseg_oneformer.text_table import format_table
from tests.soak.readers import READERS

__all__ = ['COLUMNS', 'Outcome', 'fuzz']

SECONDS = 60.0
"""For one input of a few kilobytes, on a busy machine."""
MEMORY = 2 * 2**30
"""Bytes that a process may have."""
ACCEPTED, REFUSED = 'accepted', 'refused'
FAULTS = ('traceback', 'nameless', 'elsewhere', 'crash', 'hang', 'memory')
COLUMNS = ('inputs', ACCEPTED, REFUSED, *FAULTS, 'peak MB')


class Outcome(NamedTuple):
    """What a reader did with an input."""

    number: int
    """Of the input; together with the seed it draws the same input again."""
    reader: str
    kind: str
    """One of ``COLUMNS``."""
    text: str
    """Traceback or sentence."""
    peak: int
    """Largest resident memory of the process meanwhile, in bytes."""


def read_one(seed: int, number: int, name: str, root: Path) -> Outcome:
    """Draw an input, read it and say what became of it."""
    folder = root / 'inputs' / str(number)
    folder.mkdir(parents=True)
    kind, text = ACCEPTED, ''
    _forget_peak()
    try:
        READERS[name](random.Random(f'{seed}:{number}:{name}'), folder)
    except UserError as error:
        text, names = str(error), {folder.name, *(path.name for path in folder.rglob('*'))}
        kind = (
            REFUSED if any(part in text for part in names | {path.partition('.')[0] for path in names}) else 'nameless'
        )
    except MemoryError:
        kind, text = 'memory', traceback.format_exc()
    except Exception:  # noqa: BLE001 (whatever a reader raises is what is looked for)
        kind, text = 'traceback', traceback.format_exc()
    peak = _peak()
    if peak > MEMORY:
        kind, text = 'memory', f'{peak / 2**20:.0f} MB. {text}'
    if there := {path.name for path in root.iterdir()} - {'inputs', 'benchmarks'}:
        kind, text = 'elsewhere', f'{sorted(there)} beside the folder of the input. {text}'
        for entry in there:
            shutil.rmtree(root / entry) if (root / entry).is_dir() else (root / entry).unlink()
    shutil.rmtree(folder, ignore_errors=True)
    return Outcome(number, name, kind, text, peak)


def _forget_peak() -> None:
    Path('/proc/self/clear_refs').write_text('5')


def _peak() -> int:
    status = Path('/proc/self/status').read_text()
    return int(status.partition('VmHWM:')[2].split()[0]) * 1024


def _work(tasks: Connection, seed: int, root: Path) -> None:
    """Read inputs until there are no more; silent, since libraries print what they think of broken files."""
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silence, stream)
    warnings.simplefilter('ignore')
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    size = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))  # Addresses of libraries are not memory.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while (task := tasks.recv()) is not None:
        tasks.send(read_one(seed, *task, root))


class _Worker:
    """A process that reads one input after the other."""

    def __init__(self, seed: int, root: Path) -> None:
        context = multiprocessing.get_context('fork')  # The libraries are imported once.
        self.tasks, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, seed, root), daemon=True)
        self.process.start()
        theirs.close()
        self.task: tuple[int, str] | None = None
        self.end = 0.0

    def give(self, task: tuple[int, str] | None) -> None:
        """Send an input; None ends the process."""
        self.task, self.end = task, time.monotonic() + SECONDS
        self.tasks.send(task)

    def outcome(self) -> Outcome | None:
        """Return what became of the input, None while nothing is known; a process that failed is at its end then."""
        assert self.task is not None
        try:
            if self.tasks.poll():
                return self.tasks.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            return Outcome(*self.task, 'crash', f'exit status {self.process.exitcode}', 0)
        if time.monotonic() > self.end:
            self.process.kill()
            self.process.join()
            return Outcome(*self.task, 'hang', f'more than {SECONDS:.0f} s', 0)
        return None


def fuzz(numbers: Iterable[int], seed: int, names: Sequence[str], jobs: int) -> Iterator[Outcome]:
    """Read drawn inputs; yield what became of each, in the order of the ends.

    Args:
        numbers: Of the inputs; they take turns among the readers.
        seed: Of all.
        names: Of the readers.
        jobs: Processes.
    """
    left = iter([(number, names[number % len(names)]) for number in numbers])
    with tempfile.TemporaryDirectory() as folder:
        workers: list[_Worker] = []

        def start(job: int) -> _Worker | None:
            task = next(left, None)
            if task is None:
                return None
            root = Path(folder) / str(job)
            root.mkdir(exist_ok=True)
            worker = _Worker(seed, root)
            worker.give(task)
            return worker

        workers = [worker for job in range(jobs) if (worker := start(job)) is not None]
        while workers:
            wait([worker.tasks for worker in workers], timeout=1)
            for place, worker in reversed(list(enumerate(workers))):
                outcome = worker.outcome()
                if outcome is None:
                    continue
                yield outcome
                if not worker.process.is_alive():
                    new = start(int(time.monotonic_ns()))
                    workers[place : place + 1] = [new] if new is not None else []
                elif (task := next(left, None)) is not None:
                    worker.give(task)
                else:
                    worker.give(None)
                    worker.process.join()
                    del workers[place]


def main(argv: Sequence[str] | None = None) -> int:
    """Read, print the counts, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--inputs', type=int, default=10_000, help='how many (default: %(default)s)')
    parser.add_argument('--first', type=int, default=0, help='number of the first one (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of what is drawn (default: %(default)s)')
    parser.add_argument('--readers', nargs='+', choices=READERS, default=list(READERS), help='by default all')
    parser.add_argument('--jobs', type=int, default=os.cpu_count(), help='processes (default: %(default)s)')
    args = parser.parse_args(argv)
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    faults = 0
    for outcome in fuzz(range(args.first, args.first + args.inputs), args.seed, args.readers, args.jobs):
        for name in (outcome.reader, 'all'):
            counts[name]['inputs'] += 1
            counts[name][outcome.kind] += 1
            counts[name]['peak MB'] = max(counts[name]['peak MB'], outcome.peak >> 20)
        if outcome.kind in FAULTS:
            faults += 1
            print(f'{outcome.kind}: input {outcome.number} of {outcome.reader}\n{outcome.text}', flush=True)
    rows = [[name, *(str(counts[name][column]) for column in COLUMNS)] for name in (*args.readers, 'all')]
    print(format_table(['reader', *COLUMNS], rows))
    return 1 if faults else 0


if __name__ == '__main__':
    sys.exit(main())
