"""Random numbers that depend on what is drawn, not on who draws it."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

__all__ = ['keyed_randomness']


@contextmanager
def keyed_randomness(*key: int) -> Iterator[None]:
    """Seed Python's and NumPy's global generators from ``key`` and restore their states afterwards.

    OpenMMLab's transforms draw from these two generators. A sample drawn under (seed, pass, index) is thus the same
    whether the main process or any loader worker makes it, and making it affects no other random numbers.

    Args:
        *key: Non-negative integers.
    """
    words = np.random.SeedSequence(key).generate_state(8)
    python_state, numpy_state = random.getstate(), np.random.get_state()
    random.seed(int.from_bytes(words.tobytes(), 'little'))
    np.random.seed(words)
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
