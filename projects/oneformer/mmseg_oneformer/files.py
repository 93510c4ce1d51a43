"""Files appear whole or not at all, are read or rejected in a sentence, and can be told apart."""

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .errors import UserError, WriteError
from .progress import open_large


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that becomes ``path`` when the block ends without an exception.

    A run that is killed while writing leaves the old file, or none, and never half of the new one. Folders above
    ``path`` are made.

    Example:
        >>> with atomic_path('results.json') as temporary:
        ...     temporary.write_text('{}')
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays in place: some writers choose the format by it.
    temporary = target.with_name(f'.{shorten(target.stem)}.{os.getpid()}{target.suffix}')
    try:
        yield temporary
        with temporary.open('rb') as file:
            os.fsync(file.fileno())  # Else a power cut may leave the new name with empty content.
        temporary.replace(target)
    except OSError as error:
        if error.filename == str(temporary):  # A name that no user knows.
            error.filename = str(target)
        raise
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def remove_leftovers(paths: Iterable[Path], pattern: re.Pattern[str]) -> None:
    """Remove the temporary files of :func:`atomic_path` whose processes are no more.

    Args:
        paths: To look at.
        pattern: Of the names; one of its groups is the number of the process.
    """
    for path in paths:
        match = pattern.fullmatch(path.name)
        if match and not _is_alive(int(next(filter(None, match.groups())))):
            with suppress(FileNotFoundError):
                path.unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # It is another user's.
        return True
    return process != os.getpid()  # This process has written nothing yet: its number was that of another one.


def read_json(path: Path, remedy: str = 'copy it again') -> Any:
    """Return the content of a JSON file, or raise a ValueError with the remedy if it is none."""
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f'{path} is not valid JSON ({error}); {remedy}.') from error


def is_safetensors(path: str | os.PathLike[str]) -> bool:
    """Return whether a file begins as safetensors do, whatever it is called: the length of a JSON header, and it."""
    with Path(path).open('rb') as file:
        start, length = file.read(9), file.seek(0, os.SEEK_END)
    return start[8:] == b'{' and int.from_bytes(start[:8], 'little') <= length - 8


def user_path(path: str | os.PathLike[str]) -> Path:
    """Return a path with ``~`` replaced; a name such as ``~photo.jpg``, which is nobody's home, stays as it is."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 (pathlib's raises a RuntimeError for such a name)


def shorten(name: str) -> str:
    """Return the end of a name, where numbers stand, of at most 160 bytes in UTF-8; no character is cut."""
    encoded = name.encode(errors='surrogatepass')
    # File systems take 255 bytes a name, and what is written puts more around it.
    return name if len(encoded) <= 160 else encoded[-160:].decode(errors='ignore')


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise now what writing ``path`` would raise after the work: nothing is made, nor are folders above.

    Raises:
        OSError: A part of the path is a file, or must not be written.
    """
    target = Path(path)
    there = next(folder for folder in (target, *target.absolute().parents) if folder.exists())
    if there != target and not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(target))
    if not os.access(there, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))


def check_not_input(path: str | os.PathLike[str], *inputs: str | os.PathLike[str] | None) -> None:
    """Raise a UserError if what is to be written exists and is an input, or lies in a folder that is one."""
    target = Path(path).resolve()
    for source in (Path(each).resolve() for each in inputs if each is not None):
        if target.is_file() and source in (target, *target.parents):
            raise UserError(f'{path} is an input, which is never written over; give another path.')


def check_folder(path: str | os.PathLike[str]) -> None:
    """Raise a WriteError now if no files can be written into a folder, which need not exist yet."""
    try:
        check_writable(Path(path) / 'file')
    except OSError as error:
        there = next(folder for folder in (Path(path), *Path(path).absolute().parents) if folder.exists())
        reason = str(error.strerror).lower() if there.is_dir() else f'{there} is a file'
        raise WriteError(f'Nothing can be written into {path} ({reason}); give another folder.') from error


def write_atomic(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write text (UTF-8) or bytes to ``path``, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def file_digest(path: str | os.PathLike[str], kind: str = 'sha256') -> str:
    """Return the checksum in hexadecimal of a file, or of all files of a folder in the order of their names.

    Args:
        path: File or folder.
        kind: One of :mod:`hashlib`.
    """
    path = Path(path)
    digest = hashlib.new(kind, usedforsecurity=False)
    for part in sorted(filter(Path.is_file, path.iterdir())) if path.is_dir() else [path]:
        with open_large(part, 'checking') as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
