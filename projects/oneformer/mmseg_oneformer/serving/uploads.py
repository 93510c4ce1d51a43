"""Untrusted photos sent to the service: limited in bytes, seconds and pixels, and rejected with a sentence.

Decisions:
* Uploads are counted separately from requests being predicted: a slow one costs little memory and no computation, so
  many more of them are accepted.
* When too many are in progress, the slowest is dropped if it is below the minimum rate: slow clients, however many,
  never keep out one that sends at once.
"""

import random
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from anyio import CancelScope, current_time
from fastapi import Request

from ..photos.errors import PhotoError

__all__ = ['DEFAULT_LIMITS', 'Limits', 'RequestError', 'Uploads', 'decode']

GRACE_SECONDS = 5.0
"""Time in which an upload may be as slow as it likes. Randomly up to 50 % longer: many dropped at once would delay
everybody else."""
YOUNG_SECONDS = 1.0
"""Time in which it is not dropped for others either: all begin with nothing."""


class Limits(NamedTuple):
    """What a service accepts."""

    max_bytes: int = 20_000_000
    """Maximum size of an uploaded file."""
    max_pixels: int = 30_000_000
    """Maximum height times width."""
    max_seconds: float = 30.0
    """Maximum time until an upload has arrived."""
    min_rate: float = 5000.0
    """Minimum average bytes per second of an upload that takes longer than a few seconds."""
    max_uploads: int = 256
    """Maximum number of uploads in progress at a time."""


DEFAULT_LIMITS = Limits()


class RequestError(Exception):
    """The request cannot be served.

    Args:
        status: HTTP status.
        reason: A sentence for the client.
        retry_after: Seconds after which the same request may be served.
    """

    def __init__(self, status: int, reason: str, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.retry_after = status, reason, retry_after


class _Upload:
    """An upload in progress."""

    def __init__(self, limits: Limits) -> None:
        self.limits, self.since, self.data, self.makes_room = limits, current_time(), bytearray(), False
        self.grace = GRACE_SECONDS * random.uniform(1, 1.5)
        self.scope = CancelScope()
        self.arrived(b'')

    def arrived(self, part: bytes) -> None:
        """Add some bytes, which extend the time allowed."""
        self.data += part
        rated = self.grace + len(self.data) / self.limits.min_rate
        self.scope.deadline = self.since + min(rated, self.limits.max_seconds)

    @property
    def rate(self) -> float:
        """Bytes per second so far; infinite for one that has only just begun."""
        seconds = current_time() - self.since
        return len(self.data) / seconds if seconds > YOUNG_SECONDS else float('inf')

    @property
    def reason(self) -> str:
        """Why the upload was dropped."""
        late = current_time() - self.since >= self.limits.max_seconds and not self.makes_room
        how = f'within {self.limits.max_seconds:g} s' if late else f'at {self.limits.min_rate / 1000:g} kB/s or more'
        return f'The photo did not arrive {how}; send it again.'


class Uploads:
    """The uploads in progress.

    Args:
        limits: Limits of each, and of their number.
        max_total: Maximum bytes of all together.
    """

    def __init__(self, limits: Limits, max_total: int) -> None:
        self.limits, self.max_total = limits, max_total
        self._under_way: set[_Upload] = set()

    def __len__(self) -> int:
        return len(self._under_way)

    async def receive(self, request: Request) -> bytes:
        """Read a request's body, up to the limit; one that states a larger size is not read at all.

        Raises:
            RequestError: It is a form (415), too large (413), too slow (408) or empty (400), or too many are in
                progress (503).
            ClientDisconnect: The client disconnected.
        """
        if request.headers.get('content-type', '').startswith('multipart/'):
            raise RequestError(415, 'The body is a form; send the photo itself: curl --data-binary @photo.jpg.')
        too_large = RequestError(413, f'The file has more than {self.limits.max_bytes / 1e6:g} MB; send a smaller one.')
        announced = request.headers.get('content-length', '')
        if announced.isdecimal() and int(announced) > self.limits.max_bytes:
            raise too_large
        self._make_room()
        upload = _Upload(self.limits)
        self._under_way.add(upload)
        try:
            with upload.scope:
                async for part in request.stream():
                    upload.arrived(part)
                    if len(upload.data) > self.limits.max_bytes:
                        raise too_large
                    if sum(len(other.data) for other in self._under_way) > self.max_total:
                        raise RequestError(503, 'Too many uploads; try again in a moment.', retry_after=1)
        finally:
            self._under_way.discard(upload)
        if upload.scope.cancelled_caught:
            raise RequestError(408, upload.reason)
        if not upload.data:
            raise RequestError(400, 'The request has no body; send the bytes of a photo.')
        return bytes(upload.data)

    def _make_room(self) -> None:
        """Drop the slowest upload if there are too many.

        Raises:
            RequestError: All are fast enough, or have only just begun.
        """
        if len(self) < self.limits.max_uploads:
            return
        slowest = min(self._under_way, key=lambda upload: upload.rate)
        if slowest.rate >= self.limits.min_rate:
            raise RequestError(503, f'{len(self)} uploads are in progress; try again in a moment.', retry_after=1)
        slowest.makes_room = True
        slowest.scope.cancel()
        self._under_way.discard(slowest)


def decode(data: bytes, limits: Limits, read: Callable[[bytes, str, int], np.ndarray]) -> np.ndarray:
    """Decode a photo as (H, W, 3) uint8 BGR.

    Args:
        data: The body of the request.
        limits: Limits of the service.
        read: The loader of the model, which takes the bytes, a name and the maximum number of pixels.

    Raises:
        RequestError: It is not a supported photo (415), is damaged (400) or has too many pixels (413).
        MemoryError: It does not fit into memory.
    """
    try:
        return read(data, 'of a request', limits.max_pixels)
    except PhotoError as error:
        if error.fault == 'memory':
            raise MemoryError(str(error)) from error
        status, reason = {
            'unsupported': (
                415,
                f'The photo has {error.detail}, which is not supported; send it with 8 bits in grey or RGB.',
            ),
            'unknown': (415, 'This is not a photo that can be read; send a JPEG, PNG or WebP.'),
            'large': (
                413,
                f'The photo has {error.detail} pixels, at most {limits.max_pixels} are taken; send a smaller one.',
            ),
            'damaged': (400, 'The photo is damaged or cut off; send it again.'),
        }[error.fault]
        raise RequestError(status, reason) from None
