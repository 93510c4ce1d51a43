"""Requests that arrive together go through the network together.

Decisions:
* Only requests of one key are put together. The service's key is the size of the network's input and the tasks, so
  nothing is padded and an answer does not depend on who else asked.
* One batch at a time, in a thread: the network uses all cores already, and the event loop stays free to refuse.
* The number of requests that wait is bounded: a service that says "busy" at once can be retried, one that takes
  everything runs out of memory.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Generic, NamedTuple, TypeVar

__all__ = ['BusyError', 'MicroBatcher']

Request = TypeVar('Request')
Answer = TypeVar('Answer')


class BusyError(Exception):
    """As many requests wait as may."""


class _Waiting(NamedTuple, Generic[Request, Answer]):
    key: Hashable
    request: Request
    answer: 'asyncio.Future[Answer]'


class MicroBatcher(Generic[Request, Answer]):
    """Hands requests to a function in batches, the oldest first; an asynchronous context manager.

    Args:
        run: Answers a batch of requests of one key, in their order; called in a thread, one call at a time.
        max_batch: Requests in a batch at most.
        max_wait: How long the first request of a batch waits for others, in seconds.
        max_waiting: Requests that wait at most.

    Raises:
        ValueError: If a number makes no sense.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Request]], Sequence[Answer]],
        max_batch: int = 4,
        max_wait: float = 0.005,
        max_waiting: int = 64,
    ) -> None:
        if max_batch < 1 or max_waiting < 1 or max_wait < 0:
            raise ValueError(
                f'max_batch and max_waiting are 1 or more and max_wait is 0 or more, not {max_batch}, {max_waiting} '
                f'and {max_wait}.'
            )
        self.run, self.max_batch, self.max_wait, self.max_waiting = run, max_batch, max_wait, max_waiting
        self._waiting: deque[_Waiting[Request, Answer]] = deque()
        self._arrived = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    async def __aenter__(self) -> 'MicroBatcher[Request, Answer]':
        """Start."""
        self._worker = asyncio.create_task(self._work())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; requests that still wait are cancelled."""
        assert self._worker is not None
        self._worker.cancel()
        with suppress(asyncio.CancelledError):
            await self._worker
        for waiting in self._waiting:
            waiting.answer.cancel()

    async def submit(self, key: Hashable, request: Request) -> Answer:
        """Answer one request.

        Args:
            key: Requests of the same key may share a batch.
            request: For ``run``.

        Raises:
            BusyError: If too many wait.
            Exception: What ``run`` raised for the batch.
        """
        if len(self._waiting) >= self.max_waiting:
            raise BusyError
        waiting = _Waiting(key, request, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._arrived.set()
        return await waiting.answer

    async def _work(self) -> None:
        while True:
            batch = await self._next_batch()
            if not batch:
                continue
            try:
                answers = await asyncio.to_thread(self.run, [waiting.request for waiting in batch])
                for waiting, answer in zip(batch, answers, strict=True):
                    if not waiting.answer.done():  # its client may have left
                        waiting.answer.set_result(answer)
            except asyncio.CancelledError:
                for waiting in batch:
                    waiting.answer.cancel()
                raise
            except Exception as error:
                for waiting in batch:
                    if not waiting.answer.done():
                        waiting.answer.set_exception(error)

    async def _next_batch(self) -> list[_Waiting[Request, Answer]]:
        """Wait for a request, and a moment for others of its key; those whose clients left are dropped."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.max_wait
        key = self._waiting[0].key
        while sum(waiting.key == key for waiting in self._waiting) < self.max_batch:
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), max(0, deadline - loop.time()))
            except TimeoutError:
                break
        batch = [waiting for waiting in self._waiting if waiting.key == key][: self.max_batch]
        taken = set(map(id, batch))
        self._waiting = deque(waiting for waiting in self._waiting if id(waiting) not in taken)
        return [waiting for waiting in batch if not waiting.answer.done()]
