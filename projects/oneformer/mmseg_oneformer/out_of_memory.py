"""A sentence where the memory runs out."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .errors import UserError


@contextmanager
def explain_out_of_memory(remedy: str) -> Iterator[None]:
    """Surround what may take more memory than there is, of the GPU or of the machine.

    Args:
        remedy: What takes less, as the end of a sentence.

    Raises:
        UserError: It ran out.
    """
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        where = 'of the GPU' if isinstance(error, torch.OutOfMemoryError) else 'of this machine'
        raise UserError(f'The memory {where} ran out; {remedy}.') from error
