"""Several processes over a list, in order, with a progress bar."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

import cv2
from tqdm import tqdm

__all__ = ['available_cores', 'processes', 'run_chunks']

Result = TypeVar('Result')
CHUNK = 16
FORKING_PAYS = 200
"""Images below which starting processes takes longer than looking at them."""

_job: tuple[Callable[[Any, range], Any], Any] | None = None
"""Function and context of the running job; a child process gets them when it starts, and not with each chunk."""


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def processes(count: int, jobs: int) -> int:
    """How many of ``jobs`` processes are worth starting for ``count`` images."""
    return 1 if count < FORKING_PAYS else max(jobs, 1)


def run_chunks(
    function: Callable[[Any, range], Result], context: Any, count: int, jobs: int, title: str
) -> Iterator[Result]:
    """Yield ``function(context, indices)`` for consecutive ranges that cover ``count`` indices, in order.

    Args:
        function: Defined at the top of a module.
        context: What it needs besides.
        count: Number of indices.
        jobs: Processes.
        title: Of the progress bar.
    """
    chunks = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    with tqdm(total=count, desc=title, unit='image', mininterval=0.5, disable=None) as bar:
        for chunk, result in zip(chunks, _results(function, context, chunks, count, jobs)):
            bar.update(len(chunk))
            yield result


def _results(function: Callable, context: Any, chunks: list[range], count: int, jobs: int) -> Iterator[Any]:
    if processes(count, jobs) == 1:
        yield from (function(context, chunk) for chunk in chunks)
        return
    methods = multiprocessing.get_all_start_methods()
    start = multiprocessing.get_context('fork' if 'fork' in methods else None)
    with ProcessPoolExecutor(jobs, mp_context=start, initializer=_begin, initargs=(function, context)) as pool:
        yield from pool.map(_work, chunks)


def _begin(function: Callable, context: Any) -> None:
    global _job
    cv2.setNumThreads(0)  # OpenCV's threads do not survive a fork; 0 keeps the children from waiting for them.
    _job = function, context


def _work(chunk: range) -> Any:
    function, context = _job  # type: ignore[misc]
    return function(context, chunk)
