"""Durations of iterations, as measured by a hook."""

import time


class Stopwatch:
    """Times iterations: those since the last mark without validations, and all of them including everything.

    The first iteration is left out of both, since it starts workers and tunes kernels.

    Args:
        iteration: The iteration at which training begins.
    """

    def __init__(self, iteration: int) -> None:
        self._first = iteration
        self._started = self._idle = time.monotonic()
        self.mark(iteration)

    def begin(self) -> None:
        """Record that an iteration begins: its data have arrived."""
        self._waited += time.monotonic() - self._idle

    def end(self, done: int) -> None:
        """Record that the ``done``-th iteration has ended."""
        self._idle = time.monotonic()
        if done == self._first + 1:
            self._started = self._idle
            self.mark(done)

    def leave_out(self, seconds: float) -> None:
        """Leave out something else that took this long and has just ended."""
        self._idle = time.monotonic()
        self._marked += seconds

    def mark(self, done: int) -> None:
        """Restart the count."""
        self._marked, self._marked_at, self._waited = time.monotonic(), done, 0.0

    def recent(self, done: int) -> tuple[float, float] | None:
        """Return seconds per iteration since the mark, and the share spent waiting for data; None before the first."""
        seconds = self._idle - self._marked
        return (seconds / (done - self._marked_at), self._waited / seconds) if done > self._marked_at else None

    def seconds_left(self, done: int, total: int) -> float | None:
        """Return how long the rest will take at this speed; None before the second iteration."""
        counted = done - self._first - 1
        return (time.monotonic() - self._started) / counted * (total - done) if counted > 0 else None
