"""Photos that strangers send: bounded in bytes and pixels, and refused in a sentence."""

import io
from collections.abc import AsyncIterator
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

__all__ = ['DEFAULT_LIMITS', 'Limits', 'RefusedError', 'decode', 'receive']


class Limits(NamedTuple):
    """What a service takes."""

    max_bytes: int = 20_000_000
    """Of an uploaded file."""
    max_pixels: int = 30_000_000
    """Height times width."""


DEFAULT_LIMITS = Limits()


class RefusedError(Exception):
    """The request is not served.

    Args:
        status: Of HTTP.
        reason: A sentence for the client.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


async def receive(body: AsyncIterator[bytes], limits: Limits) -> bytes:
    """Read an upload, no further than it may go.

    Raises:
        RefusedError: It is too large (413) or empty (400).
    """
    parts, size = [], 0
    async for part in body:
        size += len(part)
        if size > limits.max_bytes:
            raise RefusedError(413, f'The file has more than {limits.max_bytes / 1e6:g} MB; send a smaller one.')
        parts.append(part)
    if not size:
        raise RefusedError(400, 'The request has no body; send the bytes of a photo.')
    return b''.join(parts)


def decode(data: bytes, limits: Limits) -> np.ndarray:
    """Decode a photo as (H, W, 3) uint8 BGR, turned as its EXIF orientation says.

    Its size is read before its pixels are, so that a small file cannot fill the memory.

    Raises:
        RefusedError: It is no photo (415), broken (400) or has too many pixels (413).
    """
    try:
        with Image.open(io.BytesIO(data)) as header:
            width, height = header.size
    except Image.DecompressionBombError:
        raise RefusedError(413, 'The photo has far too many pixels; send a smaller one.') from None
    except Exception:  # Pillow's plugins raise whatever broken files make them raise.
        raise RefusedError(415, 'This is no photo that can be read; send a JPEG or a PNG.') from None
    if width * height > limits.max_pixels:
        raise RefusedError(
            413, f'The photo has {width} x {height} pixels, at most {limits.max_pixels} are taken; send a smaller one.'
        )
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise RefusedError(400, 'The photo is damaged or cut off; send it again.')
    return image
