"""Requests that arrive together go through the network together.

Decisions:
* Only requests with the same key are batched. The service's key is the size of the network's input and the tokens, so
  nothing is padded and a response does not depend on the other requests in its batch.
* One batch at a time, in a thread of its own: the network uses all cores already, PyTorch keeps its worker threads from
  batch to batch, and the event loop stays free.
* If a batch fails, its requests are run again one by one: a photo that breaks the network does not affect others.
* Whatever is raised, including what ends threads and tasks, reaches only the requests of its batch.
"""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Generic, TypeVar

from ..errors import UserError
from .failures import contain

__all__ = ['MicroBatcher']

Key = TypeVar('Key', bound=Hashable)
Request = TypeVar('Request')
Response = TypeVar('Response')


class _Waiting(Generic[Key, Request, Response]):
    """A waiting request; compared by identity."""

    def __init__(self, key: Key, request: Request) -> None:
        loop = asyncio.get_running_loop()
        self.key, self.request, self.since = key, request, loop.time()
        self.response: asyncio.Future[Response] = loop.create_future()


class MicroBatcher(Generic[Key, Request, Response]):
    """Passes requests to a function in batches, the oldest first; an asynchronous context manager.

    It does not limit the number of waiting requests: its callers do.

    Args:
        run: Serves a batch of requests with the same key, in their order; called in a thread, one call at a time.
        max_batch: Maximum number of requests in a batch.
        max_wait: How long a request waits for others with its key, in seconds.

    Raises:
        UserError: If a number makes no sense.
    """

    def __init__(
        self, run: Callable[[Key, Sequence[Request]], Sequence[Response]], max_batch: int = 1, max_wait: float = 0.0
    ) -> None:
        if max_batch < 1 or max_wait < 0:
            raise UserError(
                f'A batch has 1 photo or more and waits 0 seconds or more, not {max_batch} and {max_wait}; '
                'correct max_batch or max_wait.'
            )
        self.run, self.max_batch, self.max_wait = run, max_batch, max_wait
        self.batches = 0
        """Calls of ``run`` so far."""
        self.requests = 0
        """Requests in these calls."""
        self._waiting: list[_Waiting[Key, Request, Response]] = []
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix='network')
        self._worker: asyncio.Task[None] | None = None

    async def __aenter__(self) -> 'MicroBatcher[Key, Request, Response]':
        """Start."""
        self._worker = asyncio.create_task(self._work())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; requests that are still waiting are cancelled."""
        assert self._worker is not None
        self._worker.cancel()
        with suppress(asyncio.CancelledError):
            await self._worker
        for waiting in self._waiting:
            waiting.response.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def submit(self, key: Key, request: Request) -> Response:
        """Serve one request; a caller that is cancelled in the meantime leaves the queue.

        Args:
            key: Requests of the same key may share a batch.
            request: Passed to ``run``.

        Raises:
            RuntimeError: If the batcher is not, or no longer, running.
            Exception: What ``run`` raised for this request.
        """
        if self._worker is None or self._worker.done():
            raise RuntimeError('The batcher is closed.')
        waiting: _Waiting[Key, Request, Response] = _Waiting(key, request)
        self._waiting.append(waiting)
        self._arrived.set()
        try:
            return await waiting.response
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)

    async def _work(self) -> None:
        while True:
            batch = await self._next_batch()
            try:
                await self._serve(batch)
            except asyncio.CancelledError:
                for waiting in batch:
                    waiting.response.cancel()
                raise

    async def _serve(self, batch: Sequence[_Waiting[Key, Request, Response]]) -> None:
        """Set responses or errors of a batch with one key."""
        batch = [waiting for waiting in batch if not waiting.response.done()]  # The other clients have disconnected.
        if not batch:
            return
        self.batches += 1
        self.requests += len(batch)
        error = await self._run(batch)
        # After the exception is gone, and with it the memory of the batch that its traceback holds.
        if error is not None and len(batch) > 1:
            del error
            for waiting in batch:
                await self._serve([waiting])
        elif error is not None and not batch[0].response.done():
            batch[0].response.set_exception(error)

    async def _run(self, batch: Sequence[_Waiting[Key, Request, Response]]) -> Exception | None:
        """Set the responses of a batch, or return why there are none."""
        requests = [waiting.request for waiting in batch]
        loop = asyncio.get_running_loop()
        try:
            work = partial(contain, partial(self.run, batch[0].key, requests))
            responses = await loop.run_in_executor(self._thread, work)
            for waiting, response in zip(batch, responses, strict=True):
                if not waiting.response.done():
                    waiting.response.set_result(response)
        except Exception as error:  # noqa: BLE001 (raised where its request is waiting)
            return error
        return None

    async def _next_batch(self) -> list[_Waiting[Key, Request, Response]]:
        """Wait for a request, and for others with its key until the batch is full or the first's time is up."""
        while True:
            self._arrived.clear()
            if self._waiting:
                first = self._waiting[0]
                batch = [waiting for waiting in self._waiting if waiting.key == first.key][: self.max_batch]
                patience = first.since + self.max_wait - asyncio.get_running_loop().time()
                if len(batch) == self.max_batch or patience <= 0:
                    self._waiting = [waiting for waiting in self._waiting if waiting not in batch]
                    return batch
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._arrived.wait(), patience)
            else:
                await self._arrived.wait()
