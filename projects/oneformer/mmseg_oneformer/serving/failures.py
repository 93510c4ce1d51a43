"""Errors in a thread become exceptions that an event loop can pass on."""

from collections.abc import Callable
from typing import TypeVar

from ..out_of_memory import is_out_of_memory

__all__ = ['contain']

Result = TypeVar('Result')


def contain(work: Callable[[], Result]) -> Result:
    """Call ``work`` in a worker thread.

    The event loop takes a ``SystemExit`` for its own end and a ``CancelledError`` for that of the waiting task, and
    never passes on a ``StopIteration``: a request would hang, or the service would end.

    Raises:
        MemoryError: The memory of the machine or of the GPU ran out, whichever library reports it.
        RuntimeError: It raised something that an event loop must not see; the cause has the traceback.
        Exception: Any other exception, unchanged.
    """
    try:
        return work()
    except BaseException as error:  # noqa: BLE001 (passed on as another exception, with its traceback)
        if is_out_of_memory(error):
            raise MemoryError(str(error)) from None
        if isinstance(error, Exception) and not isinstance(error, StopIteration):
            raise
        raise RuntimeError(f'A worker thread raised {type(error).__name__}.') from error
