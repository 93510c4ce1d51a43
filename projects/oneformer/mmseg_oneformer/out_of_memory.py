"""A sentence where the memory runs out."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .errors import NoMemoryError


@contextmanager
def explain_out_of_memory(remedy: str) -> Iterator[None]:
    """Surround what may take more memory than there is, of the GPU or of the machine.

    Args:
        remedy: What takes less, as the end of a sentence.

    Raises:
        NoMemoryError: It ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError.
        on_gpu = isinstance(error, torch.OutOfMemoryError)
        # What torch says where the machine gives no memory for a tensor on the CPU: it has no class for that.
        if not on_gpu and isinstance(error, RuntimeError) and 'allocate memory' not in str(error):
            raise
        raise NoMemoryError(f'The memory of {"the GPU" if on_gpu else "this machine"} ran out; {remedy}.') from error
