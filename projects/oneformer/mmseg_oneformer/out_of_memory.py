"""A sentence where the memory runs out."""

from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import torch

from .errors import NoMemoryError

WORDS = ("can't allocate memory", 'not enough memory', 'out of memory', 'ALLOC_FAILED', 'bad_alloc')
"""In a RuntimeError of PyTorch: of the CPU's allocator (Linux, Windows), CUDA, its libraries, and C++."""
GPU_WORDS = ('CUDA', 'CUBLAS', 'CUDNN', 'CUSOLVER')


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, in the words of any library."""
    if isinstance(error, cv2.error):
        return getattr(error, 'code', None) == cv2.Error.STS_NO_MEM
    said = isinstance(error, RuntimeError) and any(words in str(error) for words in WORDS)
    return said or isinstance(error, MemoryError | NoMemoryError | torch.OutOfMemoryError)


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
    except (MemoryError, RuntimeError, cv2.error) as error:
        if not is_out_of_memory(error):
            raise
        on_gpu = isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in GPU_WORDS)
        where = 'of the GPU' if on_gpu else 'of this machine'
        raise NoMemoryError(f'The memory {where} ran out; {remedy}.') from error
