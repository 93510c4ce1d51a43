"""Several data sets in one run: annotations of different kinds, class lists of different lengths.

Decisions:
* The model has one list of classes, and every source is mapped into it by name. A source may have fewer. What a source
  does not annotate is void there: no target covers it, so it is background to every matched mask, and a query that
  finds something there is taught "no object". The reference code treats void in the same way. Across kinds of
  annotation this teaches nothing wrong, since a photo is drawn only for its own task: annotations of objects only do
  not contradict stuff in a panoptic prediction. Among sources of the *same* task it does, if photos show classes that
  they do not annotate.
* Weights are shares of the samples. A pass is as long as all sources together and always holds the same number of
  samples of each source; each source goes through its photos in passes of its own, in its own order.
* Which photo a key ``(pass, index)`` of ``PassSampler`` stands for is computed from the seed, and nothing is counted: a
  resumed run and any number of processes or loader workers see the same samples.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from mmengine.registry import DATASETS
from torch.utils.data import Dataset

from ..console import say
from ..errors import UserError
from ..visualization.colors import class_colors
from ..zoo.building import build_part
from .base import SegmentationDataset

__all__ = ['MixedDataset', 'shares']


@DATASETS.register_module()
class MixedDataset(Dataset):
    """Training samples from several data sets.

    Args:
        sources: Configs of ``PanopticDataset``, ``SemanticDataset``, ``InstanceDataset`` and their subclasses. Each
            one's metainfo names *its* classes; ``task_probs`` of a source are the probabilities of the tasks that its
            photos are drawn for.
        metainfo: ``classes`` and ``thing_ids`` of the model and, optionally, ``palette``.
        weights: Share of each source in the samples, in any unit; None: each photo once per pass.
        aliases: Names in ``metainfo.classes`` of classes that a source names differently; None makes a class void.
        pipeline: For sources that have none of their own.
        seed: Non-negative. ``PassSampler`` replaces it with the run's seed.
        lazy_init: Do not read the annotations yet.

    Raises:
        UserError: A source is not such a data set, is not for training or does not support its tasks, its classes
            do not fit, or a weight leaves it no samples.
    """

    def __init__(
        self,
        sources: Sequence[Mapping[str, Any]],
        metainfo: Mapping[str, Any],
        weights: Sequence[float] | None = None,
        aliases: Mapping[str, str | None] | None = None,
        pipeline: Sequence[Any] = (),
        seed: int = 0,
        lazy_init: bool = False,
    ) -> None:
        if not {'classes', 'thing_ids'} <= metainfo.keys():
            raise UserError('metainfo of MixedDataset needs classes and thing_ids, those of the model.')
        classes = tuple(metainfo['classes'])
        self.metainfo: dict[str, Any] = {
            'classes': classes,
            'thing_ids': tuple(sorted(int(label) for label in metainfo['thing_ids'])),
            'palette': [tuple(color) for color in metainfo.get('palette') or class_colors(len(classes))],
        }
        if not sources:
            raise UserError('MixedDataset has no sources; name at least one.')
        if weights is not None and len(weights) != len(sources):
            raise UserError(f'MixedDataset has {len(sources)} sources and {len(weights)} weights; give one to each.')
        self.aliases = dict(aliases or {})
        self.weights = weights
        shared = {'pipeline': list(pipeline)}
        self.sources: list[SegmentationDataset] = [
            build_part(DATASETS, {**shared, **source, 'lazy_init': True}) for source in sources
        ]
        for source in self.sources:
            if not isinstance(source, SegmentationDataset):
                raise UserError(
                    f'{type(source).__name__} cannot be a source of MixedDataset; use PanopticDataset, '
                    'SemanticDataset or InstanceDataset.'
                )
            if source.test_mode:
                raise UserError(
                    f'MixedDataset is for training, but {source.name} has test_mode=True; evaluate on '
                    'one source at a time.'
                )
        self.seed = seed
        self._shares: list[int] = []
        if not lazy_init:
            self.full_init()

    def full_init(self) -> None:
        """Read the annotations of all sources, once."""
        if self._shares:
            return
        for source in self.sources:
            source.full_init()
            source.give_classes(self.metainfo['classes'], self.metainfo['thing_ids'], self.aliases)
        sizes = [len(source) for source in self.sources]
        counts = sizes if self.weights is None else shares(sum(sizes), self.weights)
        for source, size, count in zip(self.sources, sizes, counts):
            if not count:
                raise UserError(
                    f'The weights {tuple(self.weights or ())} leave {source.name} no sample in a pass of {sum(sizes)}; '
                    'give it more, or leave it out.'
                )
            say(
                f'{source.name}: {size} photos, {100 * count / sum(sizes):.1f} % of the samples, '
                f'{", ".join(source.tasks)}.'
            )
        self._shares = counts

    @property
    def seed(self) -> int:
        """Seed of the order and the augmentation; every source has its own seed, derived from it."""
        return self._seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self._seed = seed
        for number, source in enumerate(self.sources):
            source.seed = int(np.random.SeedSequence((seed, number)).generate_state(1)[0])

    @property
    def max_unreadable(self) -> int:
        """How many unreadable photos a training skips, over all sources."""
        return sum(source.max_unreadable for source in self.sources)

    def __len__(self) -> int:
        """Samples in a pass: the photos of all sources."""
        self.full_init()
        return sum(self._shares)

    def locate(self, pass_number: int, index: int) -> tuple[int, int, int]:
        """Return source, its own pass, and photo (as numbers) of sample ``index`` of pass ``pass_number``.

        The samples of a source are counted across all passes; its own passes are consecutive parts of that count.
        """
        self.full_init()
        ends = np.cumsum(self._shares)
        number = int(np.searchsorted(ends, index, side='right'))
        share = self._shares[number]
        source = self.sources[number]
        own_pass, place = divmod(pass_number * share + index - int(ends[number]) + share, len(source))
        return number, own_pass, int(_order(source.seed, own_pass, len(source))[place])

    def tasks_of(self, key: int | tuple[int, int]) -> tuple[str, ...]:
        """Tasks that sample ``key`` can be drawn for."""
        pass_number, index = key if isinstance(key, tuple | list) else (0, key)
        return self.sources[self.locate(pass_number, index)[0]].tasks

    def __getitem__(self, key: int | tuple[int, int]) -> Any:
        """Return the sample of ``(pass, index)`` with its own randomness; for just an index, one of the first pass."""
        keyed = isinstance(key, tuple | list)
        pass_number, index = key if isinstance(key, tuple | list) else (0, key)
        number, own_pass, photo = self.locate(int(pass_number), int(index))
        return self.sources[number][(own_pass, photo) if keyed else photo]


def shares(total: int, weights: Sequence[float]) -> list[int]:
    """Return whole numbers in proportion to ``weights`` that sum to ``total``, by the largest remainders.

    Raises:
        UserError: A weight is not positive.
    """
    if min(weights) <= 0:
        raise UserError(f'weights of MixedDataset must be positive, got {tuple(weights)}; leave such a source out.')
    exact = total * np.asarray(weights, dtype=float) / sum(weights)
    counts = np.floor(exact).astype(int)
    largest = np.argsort(counts - exact, kind='stable')[: total - counts.sum()]
    counts[largest] += 1
    return counts.tolist()


@lru_cache(maxsize=32)
def _order(seed: int, pass_number: int, size: int) -> np.ndarray:
    """Return the order (size,) of a source's photos in its pass ``pass_number``."""
    return np.random.default_rng((seed, pass_number)).permutation(size)
