"""Photos as the bytes of a file that a stranger sent: what they claim is looked at before they are believed."""

import io
import re
from typing import Literal

import cv2
import numpy as np
from PIL import Image

__all__ = ['FORMATS', 'PhotoError', 'decode_photo']

FORMATS = ('JPEG', 'PNG', 'WEBP', 'BMP', 'TIFF', 'GIF')
"""Of photos that are taken, in Pillow's names; of several pictures in a file it is the first."""
MAX_SCANS = 100
"""Of a JPEG; encoders write 10. A scan may be 14 bytes and takes a pass over all pixels, so that a file of 20 MB could
keep a core busy for hours."""
MARKER = re.compile(rb'\xff[\x02-\xcf\xd8-\xfe]')
"""Of JPEG, with a segment behind it; those amid a scan's pixels have none."""


class PhotoError(ValueError):
    """Bytes that are not decoded.

    Args:
        fault: 'unknown' is not a photo, 'large' has too many pixels, 'damaged' is broken or cut off.
        size: Of a large one, as text.
    """

    def __init__(self, fault: Literal['unknown', 'large', 'damaged'], size: str = '') -> None:
        super().__init__(fault, size)
        self.fault, self.size = fault, size


def decode_photo(data: bytes, max_pixels: int) -> np.ndarray:
    """Decode a photo as (H, W, 3) uint8 BGR, as OpenMMLab's loader does: turned as its EXIF orientation says.

    Its size is read before its pixels are, so that a small file cannot fill the memory.

    Raises:
        PhotoError: It is no photo, damaged, or has more than ``max_pixels``.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as header:
            (width, height), kind, tile = header.size, header.format, _tile(header)
    except Image.DecompressionBombError:
        raise PhotoError('large', 'too many') from None
    except Exception:  # noqa: BLE001 (Pillow's plugins raise whatever broken files make them raise)
        raise PhotoError('unknown') from None
    if width * height > max_pixels:
        raise PhotoError('large', f'{width} x {height}')
    if tile > max_pixels:
        raise PhotoError('large', f'tiles of {tile}')
    image = None if _is_cut(data, kind) else _pixels(data)
    if image is None or sorted(image.shape[:2]) != sorted((width, height)):
        raise PhotoError('damaged')
    return image


def _pixels(data: bytes) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None


def _tile(header: Image.Image) -> int:
    """Pixels of a TIFF's tile, which may be larger than the picture; decoders make room for a whole one."""
    tags = getattr(header, 'tag_v2', {})
    return int(tags.get(322, 0)) * int(tags.get(323, 0))  # TileWidth, TileLength


def _is_cut(data: bytes, kind: str | None) -> bool:
    """Whether the file ends too early, which decoders of JPEG and PNG forgive by a grey or black rest."""
    if kind in ('JPEG', 'MPO'):  # MPO: several pictures in one JPEG
        return not 0 < _scans(data) <= MAX_SCANS
    return kind == 'PNG' and not _has_whole_chunks(data)


def _scans(data: bytes) -> int:
    """Count the scans of the pictures in a JPEG file, behind which phones put a video; 0 if one has no end."""
    at, scans = 2, 0
    while scans <= MAX_SCANS and (found := MARKER.search(data, at)):
        at, marker = found.end(), data[found.end() - 1]
        if marker == 0xD9:
            if data[at : at + 3] != b'\xff\xd8\xff':
                return scans
            at += 2  # the next picture
            continue
        scans += marker == 0xDA
        at += int.from_bytes(data[at : at + 2], 'big')
    return scans if scans > MAX_SCANS else 0


def _has_whole_chunks(data: bytes) -> bool:
    """Whether a PNG's chunks are as long as they say. OpenCV believes them: one that says 4 GB gets 4 GB of memory."""
    at = 8
    while data[at + 4 : at + 8] != b'IEND':
        at += 12 + int.from_bytes(data[at : at + 4], 'big')
        if at >= len(data):
            return False
    return True
