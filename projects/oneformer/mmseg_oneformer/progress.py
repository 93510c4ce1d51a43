"""How far something long is: a bar on a terminal, elsewhere a line a minute and never a carriage return."""

import io
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO

from tqdm import tqdm

PAUSE = 60.0
"""Seconds between two lines where there is no terminal."""

LARGE = 100 * 2**20
"""Bytes that take long enough to read for a bar."""


def format_duration(seconds: float) -> str:
    """Return hours, minutes and seconds, such as '3:07:00'."""
    return str(timedelta(seconds=round(max(seconds, 0.0))))


class Progress:
    """Shows on stderr how many of a known number are done.

    Args:
        title: What is being done.
        total: How many there are.
        unit: What they are, in the plural.
    """

    def __init__(self, title: str, total: int, unit: str) -> None:
        self.title, self.total, self.unit, self.done = title, total, unit, 0
        self._start = self._last = time.monotonic()
        self._bar = tqdm(total=total, desc=title, unit=f' {unit}', disable=None, leave=False, dynamic_ncols=True)

    def update(self, done: int, note: str = '') -> None:
        """Show that ``done`` of all are done, and a few words more."""
        if not self._bar.disable:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(done - self.done)
        elif time.monotonic() - self._last >= PAUSE:
            self._last = time.monotonic()
            line = f'{self.title}: {done} of {self.total} {self.unit}, {format_duration(self._last - self._start)}'
            print(f'{line}  {note}'.rstrip(), file=sys.stderr, flush=True)
        self.done = done

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()


class _CountedFile(io.FileIO):
    """A file that moves a bar by what is read of it."""

    bar: tqdm

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]
        count = super().readinto(buffer)
        self.bar.update(count or 0)
        return count


@contextmanager
def open_large(path: Path, verb: str) -> Iterator[IO[bytes]]:
    """Open a file for reading; a terminal sees how far the reading of a large one is.

    Args:
        path: The file.
        verb: What it is read for, such as 'loading'.
    """
    size = path.stat().st_size
    if size < LARGE:
        with path.open('rb') as file:
            yield file
        return
    bar = tqdm(total=size, unit='B', unit_scale=True, desc=f'{verb} {path.name}', leave=False, disable=None)
    with bar, _CountedFile(path) as raw:
        raw.bar = bar
        yield io.BufferedReader(raw, 1 << 20)
