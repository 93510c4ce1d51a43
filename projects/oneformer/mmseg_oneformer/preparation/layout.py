"""Which files have to be where before a conversion starts, with one sentence if they are not."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from ..errors import UserError

__all__ = ['check_space', 'list_files', 'require_folder']


def require_folder(path: Path, remedy: str) -> Path:
    """Return ``path``.

    Raises:
        UserError: It is not a folder; ``remedy`` states where to get it.
    """
    if not path.is_dir():
        raise UserError(f'Folder {path} does not exist; {remedy}.')
    return path


def list_files(folder: Path, suffixes: Iterable[str], remedy: str = 'put the files there') -> list[Path]:
    """Return the files below ``folder`` with one of the ``suffixes`` (any case), sorted; hidden ones are left out.

    Raises:
        UserError: There is none.
    """
    suffixes = tuple(suffixes)
    endings = tuple(suffix.lower() for suffix in suffixes)
    files = [
        path
        for path in folder.rglob('*')
        if path.name.lower().endswith(endings) and not path.name.startswith('.') and path.is_file()
    ]
    if not files:
        raise UserError(f'{folder} has no {" or ".join(suffixes)} file; {remedy}.')
    return sorted(files, key=lambda path: path.relative_to(folder).as_posix())


def check_space(folder: Path, needed: int) -> None:
    """Raise a ValueError if the disk of ``folder`` has less than ``needed`` bytes left."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f'{folder} has {free / 2**20:.0f} MB left on its disk and about {needed / 2**20:.0f} MB are needed; '
            'free some, or choose another disk with --out.'
        )
