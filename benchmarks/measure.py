"""Two calls against each other: alternating runs, median and spread, peak memory.

Decisions:
* The two sides alternate, and swap their order from run to run, so that a machine that gets slower or busier affects
  both alike. A ratio is that of the medians.
* Peak memory is that of one more call, measured on its own after free memory was returned to the system: doing so
  before every run would make each of them fetch its pages anew.
"""

import ctypes
import gc
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from mmseg_oneformer.errors import UserError, WriteError

MB = 10**6
"""Bytes."""

_STATUS, _CLEAR_REFS = Path('/proc/self/status'), Path('/proc/self/clear_refs')


class Samples(NamedTuple):
    """One side of a measurement."""

    seconds: tuple[float, ...]
    """Of each run."""
    peak_mb: float | None
    """Peak memory of a call, above what was in use before; None if it cannot be measured."""

    @property
    def median(self) -> float:
        """Median seconds."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> tuple[float, float]:
        """Minimum and maximum seconds."""
        return min(self.seconds), max(self.seconds)


class Measured(NamedTuple):
    """Both sides; there may be no peer."""

    ours: Samples
    peer: Samples | None

    @property
    def ratio(self) -> float | None:
        """Our median over the peer's: below 1 is faster."""
        return None if self.peer is None else self.ours.median / self.peer.median


def compare(
    ours: Callable[[], object],
    peer: Callable[[], object] | None,
    device: torch.device | str,
    runs: int = 5,
    warmup: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> Measured:
    """Time two calls in turn and measure the memory of each.

    Args:
        ours: Does the work once; its result is freed after the clock has stopped.
        peer: Does the same work in another way, or None.
        device: Device on which they run; a GPU is synchronised.
        runs: Timed runs of each.
        warmup: Runs before them that do not count.
        clock: Returns seconds.

    Raises:
        UserError: No run is requested.
    """
    if runs < 1 or warmup < 0:
        raise UserError(f'{runs} runs after {warmup} warm-up runs cannot be measured; give at least one run.')
    device = torch.device(device)
    calls = [ours] if peer is None else [ours, peer]
    seconds: list[list[float]] = [[] for _ in calls]
    for run in range(warmup + runs):
        order = range(len(calls))
        for side in order if run % 2 == 0 else reversed(order):
            elapsed = _timed(calls[side], device, clock)
            if run >= warmup:
                seconds[side].append(elapsed)
    sides = [Samples(tuple(times), peak_memory(call, device)) for times, call in zip(seconds, calls)]
    return Measured(sides[0], None if peer is None else sides[1])


def peak_memory(call: Callable[[], object], device: torch.device | str) -> float | None:
    """Return the memory in MB that ``call`` needs at its peak, above what was in use before.

    On a GPU it is what PyTorch's allocator hands out, on the CPU the resident set of the process. None if the system
    does not count the latter (it needs Linux's /proc/self/clear_refs).
    """
    device = torch.device(device)
    gc.collect()
    if device.type == 'cuda':
        _wait(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        _wait(device)
        return (torch.cuda.max_memory_allocated(device) - before) / MB
    if device.type != 'cpu':
        return None
    _return_free_memory()
    try:
        _CLEAR_REFS.write_text('5')  # VmHWM, the highest resident set so far, becomes the present one.
        before = _status('VmRSS')
        call()
        return max(_status('VmHWM') - before, 0) / MB
    except OSError:
        return None


def process_peak() -> float | None:
    """Return the highest resident set of this process in MB, since ``peak_memory`` was last called on the CPU."""
    try:
        return _status('VmHWM') / MB
    except OSError:
        return None


def _timed(call: Callable[[], object], device: torch.device, clock: Callable[[], float]) -> float:
    _wait(device)
    start = clock()
    kept = call()  # Freeing what is returned is not the call's work.
    _wait(device)
    elapsed = clock() - start
    del kept
    return elapsed


def _wait(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def _return_free_memory() -> None:
    """Return the freed memory that glibc keeps to the system; otherwise it would hide what the next call needs."""
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if trim is not None:
        trim(0)


def _status(key: str) -> int:
    """Return an entry of /proc/self/status in bytes."""
    for line in _STATUS.read_text().splitlines():
        name, _, value = line.partition(':')
        if name == key:
            return int(value.split()[0]) * 1024
    raise WriteError(f'{_STATUS} has no {key}')
