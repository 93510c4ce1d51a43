"""Reading before it is needed and writing while other work goes on, in one thread each, in order.

Decisions:
* Threads, not processes: decoding, resizing and compressing leave Python's lock, and nothing has to be copied.
* Whoever takes an item gets the error that belongs to it, when its turn has come and not before.
* Both end cleanly wherever they are left: what has not begun is dropped, what has begun is waited for.
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
    """Yield each item and what ``read`` makes of it, which is begun while up to ``count`` items before it are used.

    Args:
        read: Called in another thread, with one item after the other.
        items: What to read.
        count: How many items are read at most that have not been requested.
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
    """Yield all items of ``batches``, each after ``write`` has had it; a batch is written while the next is made.

    An error from ``batches`` comes after the items before it, as without the overlap.

    Args:
        write: Called in another thread, with one item after the other.
        batches: What to write, in parts.
    """
    made, source = True, iter(batches)
    begun: list[tuple[Item, Future[None]]] = []
    with _thread() as pool:
        while made:
            failure, batch = None, None
            try:
                batch = next(source, None)
            except Exception as error:  # noqa: BLE001 (raised below, behind the items before it)
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
        pool.shutdown(cancel_futures=was_left)  # at the end all is requested, and some may wait for its turn yet
