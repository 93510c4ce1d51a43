"""Photos from disk, and why one could not be read, in a sentence."""

from pathlib import Path

import cv2
import numpy as np

from ..errors import UserError

__all__ = ['UnreadablePhotoError', 'image_fault', 'read_photo']


class UnreadablePhotoError(UserError):
    """A photo is not there, or cannot be decoded."""


def read_photo(path: str | Path) -> np.ndarray:
    """Return a photo (H, W, 3) uint8 BGR as it is shown, that is behind its EXIF orientation.

    Raises:
        UserError: It does not exist or cannot be decoded.
    """
    photo = cv2.imread(str(path), cv2.IMREAD_COLOR) if Path(path).is_file() else None
    if photo is None:
        raise UserError(image_fault(path) or f'Image {path} cannot be read; copy it again.')
    return photo


def image_fault(path: str | Path) -> str | None:
    """A sentence on what is wrong with the image file ``path``, or None if it can be read.

    Called after something failed, not before every read: looking twice at each photo would double the loading time.
    """
    path = Path(path)
    if '://' in str(path) or ':/' in str(path)[2:]:  # A remote store; `2:` spares Windows drives.
        return None
    if not path.exists():
        return f'Image {path} does not exist; put it there or correct the path.'
    if not path.is_file():
        return f'{path} is not an image file.'
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        return f'Image {path} cannot be read ({error.strerror}).'
    if not data.size:
        return f'Image {path} is empty; copy it again.'
    try:
        decoded = cv2.imdecode(data, cv2.IMREAD_REDUCED_COLOR_8)
    except cv2.error:
        decoded = None
    if decoded is None:
        return f'Image {path} cannot be decoded: it is damaged, truncated or not an image; copy it again.'
    return None
