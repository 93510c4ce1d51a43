"""Reading ahead and writing in the background, each in one thread and in order.

Decisions:
* Threads, not processes: decoding, resizing and compressing release Python's lock, and nothing has to be copied.
* The error of an item is raised when that item's turn comes, and not before.
* Both end cleanly wherever they are left: work that has not begun is dropped, work that has begun is waited for.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

__all__ = ['read_ahead', 'write_behind']

Item = TypeVar('Item')
Read = TypeVar('Read')


def read_ahead(
    read: Callable[[Item], Read], items: Iterable[Item], count: int
) -> Generator[tuple[Item, Future[Read]], None, None]:
    """Yield each item with the result of ``read``, which runs up to ``count`` items ahead.

    Args:
        read: Called in another thread, with one item at a time.
        items: What to read.
        count: Maximum number of items read before they are requested.
    """
    upcoming = iter(items)
    with _thread() as pool:
        started: deque[tuple[Item, Future[Read]]] = deque()
        while True:
            started.extend((item, pool.submit(read, item)) for item in islice(upcoming, count + 1 - len(started)))
            if not started:
                return
            yield started.popleft()


def write_behind(write: Callable[[Item], None], batches: Iterable[Sequence[Item]]) -> Iterator[Item]:
    """Yield all items of ``batches``, each once ``write`` is done with it; a batch is written while the next is made.

    An error from ``batches`` comes after the items before it, as without the overlap.

    Args:
        write: Called in another thread, with one item at a time.
        batches: The items to write, in batches.
    """
    made, source = True, iter(batches)
    begun: list[tuple[Item, Future[None]]] = []
    with _thread() as pool:
        while made:
            failure, batch = None, None
            try:
                batch = next(source, None)
            except Exception as error:  # noqa: BLE001 (raised below, after the items before it)
                failure = error
            for item, written in begun:
                written.result()
                yield item
            if failure is not None:
                raise failure
            made = batch is not None
            begun = [(item, pool.submit(write, item)) for item in batch or ()]


@contextmanager
def _thread() -> Iterator[ThreadPoolExecutor]:
    pool, was_left = ThreadPoolExecutor(1), True
    try:
        yield pool
        was_left = False
    finally:
        pool.shutdown(cancel_futures=was_left)  # at the end, requested items may still be waiting for their turn
