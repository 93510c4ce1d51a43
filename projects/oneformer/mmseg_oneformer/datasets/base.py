"""The base class of all data sets.

Decisions:
* A kind of annotation supports only some of the three tasks. A data set states which; drawing a task that it does not
  support is an error before training starts, and the config states how often the others are drawn.
* Faults in the data are errors. The base class replaces a broken image with another one, which would hide them; here
  that is an option with a limit, and the training loop logs each of them.
* The augmentation of a sample requested by ``(pass, index)`` depends only on (seed, pass, index), so that the sample is
  the same with any number of loader workers and after resuming.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mmengine.dataset import BaseDataset

from ..errors import MissingFileError, UserError
from ..photos.decoding import photo_fault
from ..photos.errors import PhotoError
from ..tasks import TASKS
from .metainfo import check_class_names
from .randomness import keyed_randomness
from .relabel import label_map
from .transforms.targets import SampleTask

__all__ = ['SegmentationDataset']


class SegmentationDataset(BaseDataset):
    """Photos with annotations of one kind.

    Attributes:
        tasks: The tasks that the annotation supports.

    Args:
        seed: Seed of the augmentation. ``PassSampler`` replaces it with the run's seed.
        task_probs: Probability of each task for photos of this data set; None: those of ``SampleTask``.
        max_unreadable: How many unreadable photos a training replaces with the next one; one more ends it. Each process
            counts its own.
        **kwargs: Arguments of ``BaseDataset``.
    """

    tasks: tuple[str, ...] = TASKS
    _metainfo: dict[str, Any]  # The base class sets it, untyped.

    def __init__(
        self,
        seed: int = 0,
        task_probs: Mapping[str, float] | None = None,
        max_unreadable: int = 0,
        **kwargs: Any,
    ) -> None:
        if type(max_unreadable) is not int or max_unreadable < 0:
            raise UserError(f'max_unreadable is {max_unreadable!r}, not a number of photos; give 0 or more.')
        self.seed = seed
        self.max_unreadable = max_unreadable
        self.task_probs = None if task_probs is None else dict(task_probs)
        self._given: dict[str, Any] = {}
        super().__init__(**kwargs)

    @property
    def name(self) -> str:
        """The name of this data set in errors."""
        return self.ann_file

    def full_init(self) -> None:
        """Read the annotations, once.

        Raises:
            UserError: ``SampleTask`` may draw a task that the annotations do not support, or they are faulty.
        """
        if not self._fully_initialized:
            for step in self.pipeline.transforms:
                if isinstance(step, SampleTask):
                    step.probs_for(self.tasks, self.task_probs, self.name)
        super().full_init()
        check_class_names(self._metainfo['classes'], self.name)

    def tasks_of(self, key: int | tuple[int, int]) -> tuple[str, ...]:
        """Tasks that sample ``key`` can be drawn for."""
        return self.tasks

    def give_classes(
        self, classes: Sequence[str], thing_ids: Collection[int], aliases: Mapping[str, str | None]
    ) -> None:
        """Give samples the classes of another list, matched by name; the annotations have to be loaded already.

        Args:
            classes: Names of the other list.
            thing_ids: Its things.
            aliases: Names in the other list of classes that have another name here; None: becomes void.

        Raises:
            UserError: A class of this data set is not in the list, or is a thing in one and stuff in the other.
        """
        own = self.metainfo
        # A semantic map does not distinguish things from stuff; every other annotation does.
        own_things = None if self.tasks == ('semantic',) else own['thing_ids']
        labels = label_map(own['classes'], own_things, classes, thing_ids, aliases, self.name)
        self._given = {'classes': tuple(classes), 'thing_ids': tuple(thing_ids), 'label_of': labels}

    def __getitem__(self, key: int | tuple[int, int]) -> Any:
        """Return the sample ``index``, or that of ``(pass, index)`` with its own randomness.

        Args:
            key: An index, whose augmentation draws from the process's generators, or what ``PassSampler`` yields.

        Raises:
            UserError: If the photo or its annotation is missing or broken, or they do not fit together.
        """
        if not self._fully_initialized:
            self.full_init()
        if not isinstance(key, tuple | list):
            return self.prepare_data(int(key))
        pass_number, index = key
        with keyed_randomness(self.seed, int(pass_number), int(index)):
            return self._readable(int(index))

    def _readable(self, index: int) -> Any:
        """Return sample ``index``, or the next one whose photo can be read, with what was skipped in its metainfo."""
        skipped: list[str] = []
        while True:
            try:
                sample = self.prepare_data((index + len(skipped)) % len(self))
            except (PhotoError, MissingFileError) as error:
                if len(skipped) >= min(self.max_unreadable, len(self) - 1):
                    raise
                skipped.append(str(error))
                continue
            if skipped:
                sample['data_samples'].set_metainfo({'skipped_photos': skipped})
            return sample

    def prepare_data(self, idx: int) -> Any:
        """Run the pipeline on data info ``idx``, along with classes, thing ids and tasks for the transforms."""
        info = self.get_data_info(idx)
        info.update(classes=self._metainfo['classes'], thing_ids=self._metainfo['thing_ids'], tasks=self.tasks)
        info.update(self._given)
        if self.task_probs is not None:
            info['task_probs'] = self.task_probs
        path = info['img_path']
        try:
            sample = self.pipeline(info)
        except UserError:
            raise
        except Exception:  # Loaders of other libraries do not name the file.
            if fault := photo_fault(path):
                raise PhotoError(fault) from None  # The decoder's own error is less specific.
            raise
        if sample is None:
            if fault := photo_fault(path):
                raise PhotoError(fault)
            raise UserError(f'A transform of the pipeline returned nothing for {path}.')
        return sample
