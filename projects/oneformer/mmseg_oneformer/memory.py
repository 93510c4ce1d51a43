"""Memory of the machine: how much is left, what a tool keeps instead of returning it, and what is not searched."""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CGROUPS = (
    (*(f'/sys/fs/cgroup/memory.{name}' for name in ('max', 'current', 'stat')), 'inactive_file'),
    (
        *(f'/sys/fs/cgroup/memory/memory.{name}' for name in ('limit_in_bytes', 'usage_in_bytes', 'stat')),
        'total_inactive_file',
    ),
)
"""Where Linux states limit and use of a container (versions 2 and 1), and in which field the cache of files."""
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


def available_memory() -> int | None:
    """Return how many bytes this process can still get without swapping, or None where the system does not say.

    The limit of a container counts, too.
    """
    try:
        free = _fields('/proc/meminfo')['MemAvailable:'] * 1024
    except (OSError, KeyError):  # not Linux
        return None
    for limit, used, stat, cached in CGROUPS:
        with suppress(OSError, KeyError, ValueError):  # 'max' is no number: there is no limit.
            # What the kernel keeps of files counts as used, and goes when the memory is wanted.
            rest = int(Path(limit).read_text()) - int(Path(used).read_text()) + _fields(stat)[cached]
            free = min(free, rest)
    return max(free, 0)


def _fields(path: str) -> dict[str, int]:
    return {name: int(value) for name, value, *_ in map(str.split, Path(path).read_text().splitlines())}
