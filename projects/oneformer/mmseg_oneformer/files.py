"""Files appear whole or not at all, and can be told apart."""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


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
        if error.filename == str(temporary):  # A name that nobody knows.
            error.filename = str(target)
        raise
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def shorten(name: str, most: int = 160) -> str:
    """Return the end of a name, where numbers stand, of at most ``most`` bytes in UTF-8; no character is cut.

    File systems take 255 bytes a name, and what is written puts more around it.
    """
    encoded = name.encode(errors='surrogatepass')
    return name if len(encoded) <= most else encoded[-most:].decode(errors='ignore')


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
        with part.open('rb') as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
