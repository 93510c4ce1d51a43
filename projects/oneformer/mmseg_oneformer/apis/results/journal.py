"""What a run over photos and videos has finished, so that an interrupted one can be resumed."""

import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from ...errors import UserError
from ...files import remove_leftovers, write_atomic
from ..sources import Source, Video

__all__ = ['JOURNAL', 'Journal', 'with_checksum']

JOURNAL = '.predictions.jsonl'
TEMPORARY = re.compile(r'\..+\.(\d+)\.(?:png|jpg|json|jsonl|mp4)')
"""The names that ``files.atomic_path`` gives files while they are written; the number is that of a process."""


class Journal:
    """A file in the folder of the results while a run lasts: its settings, and a line for each input that is finished.

    It is begun before the first file is written, and removed when the run is complete. So a folder with a journal is
    that of a run that was interrupted, and only there leftovers are looked for.

    Args:
        folder: Folder of the results.
        settings: Plain data that the results depend on.
        resume: Keep what an interrupted run with the same settings has finished.

    Raises:
        UserError: The run to be resumed had other settings.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any] | None = None, resume: bool = False) -> None:
        self.path = folder / JOURNAL
        self._header = json.dumps(settings)
        self.finished: dict[str, dict[str, Any]] = self._read() if resume else {}
        self._file: IO[str] | None = None

    def is_done(self, item: Source | Video) -> bool:
        """Return whether the results of a file are complete, and the file is as it was then."""
        record, stamp = self.finished.get(item.name), _stamp(item)
        return stamp is not None and record is not None and record['stamp'] == stamp

    def clean(self) -> None:
        """Remove the temporary files of a killed run, and its journal unless it is resumed."""
        if self.path.is_file():
            remove_leftovers(self.path.parent.rglob('.*'), TEMPORARY)
            if not self.finished:
                self.path.unlink()

    def begin(self) -> None:
        """Write the head, and what earlier runs have finished, unless that has been done."""
        if self._file is None:
            # Written anew: a last line that was cut off goes.
            write_atomic(self.path, ''.join([f'{self._header}\n', *map(with_checksum, self.finished.values())]))
            self._file = self.path.open('a', encoding='utf-8')

    def add(self, item: Source | Video, **facts: Any) -> None:
        """Note that the files of an input are written, and plain data about them."""
        self.begin()
        assert self._file is not None
        record = {'name': item.name, 'stamp': _stamp(item), **facts}
        self._file.write(with_checksum(record))
        self._file.flush()
        self.finished[item.name] = record

    def close(self, complete: bool) -> None:
        """Close the file, which is kept only if there is something to resume."""
        if self._file is not None:
            self._file.close()
        if complete or not self.finished:
            self.path.unlink(missing_ok=True)

    def _read(self) -> dict[str, dict[str, Any]]:
        if not self.path.is_file():
            return {}
        header, *lines = self.path.read_text(encoding='utf-8', errors='replace').split('\n')
        if header != self._header:
            raise UserError(
                f'The run in {self.path.parent} that was interrupted had another model or other options; give the '
                'same, or start anew without resume.'
            )
        finished: dict[str, dict[str, Any]] = {}
        for line in lines:
            checksum, _, text = line.partition(' ')
            if checksum == _checksum(text):  # Else it was cut off when the run was killed, or is damaged.
                record = json.loads(text)
                finished[record['name']] = record
        return finished


def with_checksum(record: Mapping[str, Any]) -> str:
    """Return a line of the journal."""
    text = json.dumps(record)
    return f'{_checksum(text)} {text}\n'


def _checksum(text: str) -> str:
    return f'{zlib.crc32(text.encode()):08x}'


def _stamp(item: Source | Video) -> list[int] | None:
    """Return size and time of an input's file; None for what is not a file."""
    status = item.path.stat() if item.path is not None and item.path.is_file() else None
    return status and [status.st_size, status.st_mtime_ns]
