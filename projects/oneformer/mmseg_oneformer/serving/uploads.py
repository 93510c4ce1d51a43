"""Photos that strangers send: bounded in bytes, seconds and pixels, and refused in a sentence."""

import io
import re
from typing import NamedTuple

import cv2
import numpy as np
from anyio import fail_after
from fastapi import Request
from PIL import Image

__all__ = ['DEFAULT_LIMITS', 'FORMATS', 'Limits', 'RefusedError', 'decode', 'receive']

FORMATS = ('JPEG', 'PNG', 'WEBP', 'BMP', 'TIFF', 'GIF')
"""Of photos that are taken, in Pillow's names; of several pictures in a file it is the first."""
MAX_SCANS = 100
"""Of a JPEG; encoders write 10. A scan may be 14 bytes and takes a pass over all pixels, so that a file of 20 MB could
keep a core busy for hours."""
MARKER = re.compile(rb'\xff[\x02-\xcf\xd8-\xfe]')
"""Of JPEG, with a segment behind it; those amid a scan's pixels have none."""


class Limits(NamedTuple):
    """What a service takes."""

    max_bytes: int = 20_000_000
    """Of an uploaded file."""
    max_pixels: int = 30_000_000
    """Height times width."""
    max_seconds: float = 30.0
    """Until an upload has arrived."""


DEFAULT_LIMITS = Limits()


class RefusedError(Exception):
    """The request is not served.

    Args:
        status: Of HTTP.
        reason: A sentence for the client.
        retry_after: Seconds after which the same request may be served.
    """

    def __init__(self, status: int, reason: str, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.retry_after = status, reason, retry_after


async def receive(request: Request, limits: Limits) -> bytes:
    """Read a request's body, no further than it may go; one that says it is too large is not read at all.

    Raises:
        RefusedError: It is a form (415), too large (413), too slow (408) or empty (400).
        ClientDisconnect: The client left.
    """
    if request.headers.get('content-type', '').startswith('multipart/'):
        raise RefusedError(415, 'The body is a form; send the photo itself: curl --data-binary @photo.jpg.')
    too_large = RefusedError(413, f'The file has more than {limits.max_bytes / 1e6:g} MB; send a smaller one.')
    announced = request.headers.get('content-length', '')
    if announced.isdecimal() and int(announced) > limits.max_bytes:
        raise too_large
    data = bytearray()
    try:
        with fail_after(limits.max_seconds):
            async for part in request.stream():
                data += part
                if len(data) > limits.max_bytes:
                    raise too_large
    except TimeoutError:
        raise RefusedError(408, f'The photo did not arrive within {limits.max_seconds:g} s; send it again.') from None
    if not data:
        raise RefusedError(400, 'The request has no body; send the bytes of a photo.')
    return bytes(data)


def decode(data: bytes, limits: Limits) -> np.ndarray:
    """Decode a photo as (H, W, 3) uint8 BGR, as OpenMMLab's loader does: turned as its EXIF orientation says.

    Its size is read before its pixels are, so that a small file cannot fill the memory.

    Raises:
        RefusedError: It is no photo (415), damaged (400) or has too many pixels (413).
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as header:
            (width, height), kind, tile = header.size, header.format, _tile(header)
    except Image.DecompressionBombError:
        raise RefusedError(
            413, f'The photo has too many pixels, at most {limits.max_pixels} are taken; send a smaller one.'
        ) from None
    except Exception:  # Pillow's plugins raise whatever broken files make them raise.
        raise RefusedError(415, 'This is no photo that can be read; send a JPEG, PNG or WebP.') from None
    if width * height > limits.max_pixels or tile > limits.max_pixels:
        size = f'{width} x {height}' if width * height > limits.max_pixels else f'tiles of {tile}'
        raise RefusedError(
            413, f'The photo has {size} pixels, at most {limits.max_pixels} are taken; send a smaller one.'
        )
    image = None if _is_cut(data, kind) else _pixels(data)
    if image is None or sorted(image.shape[:2]) != sorted((width, height)):
        raise RefusedError(400, 'The photo is damaged or cut off; send it again.')
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
