"""The order of training samples: one endless stream that ranks share and a resumed run can re-enter anywhere."""

from collections.abc import Iterator, Sized

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

from ..errors import UserError

__all__ = ['PassSampler']


@DATA_SAMPLERS.register_module()
class PassSampler(Sampler):
    """Yields ``(pass, index)`` for this rank, forever.

    The stream is pass after pass over the data, each in an order that depends only on (seed, pass). Rank r of W takes
    every W-th element starting from r. With batches of total / W on each rank, global batch k therefore holds the same
    samples for any W, and iteration k starts at a position that is computed, not replayed.

    Args:
        dataset: The data; a ``seed`` attribute is set to this sampler's, so that augmentation depends on the run's
            seed.
        shuffle: Whether passes are permuted.
        seed: Non-negative; the Runner passes its own. None: one is drawn that all ranks agree on.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = None) -> None:
        self.rank, self.world_size = get_dist_info()
        self.shuffle = shuffle
        self.seed = int(sync_random_seed() if seed is None else seed)
        self.size = len(dataset)
        if not self.size:
            raise UserError('The training data set is empty; check ann_file and filter_empty.')
        self.start = 0
        if hasattr(dataset, 'seed'):
            dataset.seed = self.seed

    def set_start(self, iteration: int, batch_size: int) -> None:
        """Make the next ``iter()`` begin with the first sample of ``iteration``.

        Args:
            iteration: Number of batches already used, counted from the start of training.
            batch_size: Samples per batch of this rank.
        """
        self.start = iteration * batch_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        position = self.start * self.world_size + self.rank
        current, order = -1, self.order(0)
        while True:
            pass_number, place = divmod(position, self.size)
            if pass_number != current:
                current, order = pass_number, self.order(pass_number)
            yield pass_number, int(order[place])
            position += self.world_size

    def order(self, pass_number: int) -> np.ndarray:
        """Return the indices (size,) of the data in the order of pass ``pass_number``."""
        if not self.shuffle:
            return np.arange(self.size)
        return np.random.default_rng((self.seed, pass_number)).permutation(self.size)

    def __len__(self) -> int:
        """Return the number of samples of this rank per pass, rounded up; iteration itself never ends."""
        return -(-self.size // self.world_size)
