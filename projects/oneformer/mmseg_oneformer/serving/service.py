"""One model for many requests: admission, decoding, the network, packing.

Decisions:
* Requests are counted from the last byte of their photo to their response, and rejected above a limit: a service that
  responds "busy" at once can be retried, one that accepts everything runs out of memory. Only a few are decoded at a
  time, for the same reason. Uploads have limits of their own.
* Decoding, post-processing and packing run in as many threads as there are cores; the network in one, batch by batch.
* A client that disconnects gets no response: its photo is removed from the queue.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import Request
from starlette.requests import ClientDisconnect

from ..apis.inferencer import OneFormerInferencer
from ..apis.photo_logits import PhotoLogits
from ..apis.preprocessing import PreparedPhoto
from ..errors import UserError
from ..tasks import TASKS
from .batching import MicroBatcher
from .failures import contain
from .uploads import Limits, RequestError, Uploads, decode

__all__ = ['Batcher', 'Service', 'unless_left']

Result = TypeVar('Result')
Batcher = MicroBatcher[tuple[tuple[int, int], tuple[str, ...]], PreparedPhoto, PhotoLogits]
"""Its keys are network size and tokens."""


class Service:
    """One model for many requests.

    Args:
        infer: The model.
        limits: Limits of uploads.
        batcher: Passes prepared photos to the network.
        max_waiting: Maximum number of requests in progress.
    """

    def __init__(self, infer: OneFormerInferencer, limits: Limits, batcher: Batcher, max_waiting: int) -> None:
        if max_waiting < 1:
            raise UserError(f'max_waiting is {max_waiting}; let one request or more be under way.')
        self.infer, self.limits, self.batcher, self.max_waiting = infer, limits, batcher, max_waiting
        self.waiting = 0
        """Number of requests in progress."""
        self.uploads = Uploads(limits, max_waiting * limits.max_bytes)
        # One batch in the network, and one that is being prepared or packed.
        self._decoded = asyncio.Semaphore(2 * batcher.max_batch)
        self._threads = CapacityLimiter(len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else 4)

    async def look(self, request: Request, tokens: Sequence[str] = TASKS) -> PhotoLogits:
        """Send the photo in a request's body through the network.

        Args:
            request: Its body is a photo.
            tokens: The task tokens that predictions may need.

        Raises:
            RequestError: The photo cannot be read or is too large, or too many requests are in progress.
            ClientDisconnect: The client disconnected.
        """
        return await self.serve(request, tokens, lambda photo: photo)

    async def serve(self, request: Request, tokens: Sequence[str], finish: Callable[[PhotoLogits], Result]) -> Result:
        """Send the photo in a request's body through the network, and process its logits in a thread.

        Args:
            request: Its body is a photo.
            tokens: The task tokens that predictions may need.
            finish: Called with the logits.

        Raises:
            RequestError: As for ``look``.
            ClientDisconnect: As for ``look``.
        """
        self._check_room()  # Before the photo is received in vain.
        data = await self.uploads.receive(request)
        self._check_room()
        self.waiting += 1
        try:
            return await unless_left(request, self._serve(data, tuple(tokens), finish))
        finally:
            self.waiting -= 1

    def _check_room(self) -> None:
        if self.waiting >= self.max_waiting:
            raise RequestError(503, f'{self.waiting} requests are in progress; try again in a moment.', retry_after=1)

    async def _serve(self, data: bytes, tokens: tuple[str, ...], finish: Callable[[PhotoLogits], Result]) -> Result:
        async with self._decoded:
            prepared = await self._in_thread(lambda: self.infer.prepare(decode(data, self.limits, self.infer.decode)))
            photo = await self.batcher.submit((prepared.network_size, tokens), prepared)
            return await self._in_thread(lambda: finish(photo))

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await run_sync(partial(contain, work), limiter=self._threads)


async def unless_left(request: Request, work: Awaitable[Result]) -> Result:
    """Do the work while the client is connected.

    Raises:
        ClientDisconnect: The client disconnected.
    """

    async def gone() -> None:
        while (await request.receive())['type'] != 'http.disconnect':
            pass

    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)
