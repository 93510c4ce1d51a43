"""Photos that strangers send: bounded in bytes, seconds and pixels, and rejected in a sentence."""

from typing import NamedTuple

import numpy as np
from anyio import fail_after
from fastapi import Request

from ..apis.untrusted_images import PhotoError, decode_photo

__all__ = ['DEFAULT_LIMITS', 'Limits', 'RequestError', 'decode', 'receive']


class Limits(NamedTuple):
    """What a service takes."""

    max_bytes: int = 20_000_000
    """Of an uploaded file."""
    max_pixels: int = 30_000_000
    """Height times width."""
    max_seconds: float = 30.0
    """Until an upload has arrived."""


DEFAULT_LIMITS = Limits()


class RequestError(Exception):
    """The request cannot be served.

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
        RequestError: It is a form (415), too large (413), too slow (408) or empty (400).
        ClientDisconnect: The client left.
    """
    if request.headers.get('content-type', '').startswith('multipart/'):
        raise RequestError(415, 'The body is a form; send the photo itself: curl --data-binary @photo.jpg.')
    too_large = RequestError(413, f'The file has more than {limits.max_bytes / 1e6:g} MB; send a smaller one.')
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
        raise RequestError(408, f'The photo did not arrive within {limits.max_seconds:g} s; send it again.') from None
    if not data:
        raise RequestError(400, 'The request has no body; send the bytes of a photo.')
    return bytes(data)


def decode(data: bytes, limits: Limits) -> np.ndarray:
    """Decode a photo as (H, W, 3) uint8 BGR, as OpenMMLab's loader does: turned as its EXIF orientation says.

    Raises:
        RequestError: It is no photo (415), damaged (400) or has too many pixels (413).
    """
    try:
        return decode_photo(data, limits.max_pixels)
    except PhotoError as error:
        status, reason = {
            'unknown': (415, 'This is not a photo that can be read; send a JPEG, PNG or WebP.'),
            'large': (
                413,
                f'The photo has {error.size} pixels, at most {limits.max_pixels} are taken; send a smaller one.',
            ),
            'damaged': (400, 'The photo is damaged or cut off; send it again.'),
        }[error.fault]
        raise RequestError(status, reason) from None
