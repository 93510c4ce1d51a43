"""Files appear whole or not at all, and can be told apart."""

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
    temporary = target.with_name(f'.{target.stem}.{os.getpid()}{target.suffix}')
    try:
        yield temporary
        with temporary.open('rb') as file:
            os.fsync(file.fileno())  # Else a power cut may leave the new name with empty content.
        temporary.replace(target)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


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
