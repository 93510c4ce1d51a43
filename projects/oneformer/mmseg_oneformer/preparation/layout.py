"""What has to be where before a conversion starts, and one sentence if it is not."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from ..errors import UserError

__all__ = ['check_space', 'list_files', 'photo_size', 'require_folder']

SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')
TURNED = (5, 6, 7, 8)
"""EXIF orientations that swap width and height."""


def require_folder(path: Path, remedy: str) -> Path:
    """Return ``path``.

    Raises:
        UserError: It is no folder; ``remedy`` says where it comes from.
    """
    if not path.is_dir():
        raise UserError(f'Folder {path} does not exist; {remedy}.')
    return path


def list_files(folder: Path, suffixes: Iterable[str] = SUFFIXES, remedy: str = 'put the files there') -> list[Path]:
    """Files below ``folder`` with one of the ``suffixes`` (any case), sorted; hidden ones are left out.

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


def photo_size(path: str | Path, turn: bool = False) -> tuple[int, int]:
    """Height and width of a photo from its header.

    Args:
        path: The photo.
        turn: Give the size behind the EXIF orientation, as mmcv and annotation tools show the photo.

    Raises:
        UserError: It is missing or no image.
    """
    try:
        with Image.open(path) as photo:
            width, height = photo.size
            if turn and photo.getexif().get(0x0112) in TURNED:
                width, height = height, width
    except FileNotFoundError as error:
        raise UserError(f'Photo {path} does not exist; put it there or remove its annotation.') from error
    except (OSError, UnidentifiedImageError) as error:
        raise UserError(f'Photo {path} cannot be read: it is damaged or not an image; copy it again.') from error
    return height, width


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
