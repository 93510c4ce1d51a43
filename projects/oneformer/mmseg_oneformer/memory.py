"""Memory on the CPU: kept instead of returned, and not searched while much is read."""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # of glibc's malloc.h


def keep_freed_memory() -> bool:
    """Tell the C library to keep freed memory for the next tensor, for the rest of the process.

    By default glibc maps every large tensor anew and unmaps it when it is freed. The kernel then hands out and zeroes
    gigabytes of pages in each training step, and in each prediction for a large photo, a third of the time. Kept in one
    heap they are zeroed once; holes between tensors cost some memory in exchange.

    For tools and programs of one's own: it concerns the whole process, so no library function calls it.

    Returns:
        False where the C library is not glibc, and nothing has changed.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no such function, no such way to the C library (Windows)
        return False
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, 64 * 2**20))
    return all(mallopt(name, value) == 1 for name, value in settings)


@contextmanager
def without_collection() -> Iterator[None]:
    """Keep Python's garbage collector from walking through a million new objects again and again.

    Nothing that is read from a file refers to itself, so there is nothing to collect; it takes a third of the time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
