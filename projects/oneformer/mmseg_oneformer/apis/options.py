"""The options of an inferencer call: named, documented and checked only here."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from ..errors import UserError, did_you_mean
from ..tasks import TASKS, check_task, check_tasks
from .sources import Source

__all__ = ['InferenceOptions']


@dataclass(frozen=True)
class InferenceOptions:
    """How photos are read, predicted and written; each field is a keyword of ``infer(...)`` and ``infer.stream(...)``.

    Raises:
        UserError: There is no such task, or a number would leave no image.
    """

    tasks: str | Sequence[str] = TASKS
    """'semantic', 'instance', 'panoptic' or several of them."""
    token: str | None = None
    """The task whose token is used for all predictions; by default each has its own."""
    batch_size: int = 1
    """Images that go through the network together. Smaller ones are padded to the largest, which changes their
    predictions a little; 1 gives the exact ones."""
    progress: bool = True
    """Show a progress bar for more than one image."""
    out_dir: str | os.PathLike[str] | None = None
    """Also write the predictions here: those of photos as described at :class:`PredictionWriter`, those of videos as at
    :class:`VideoWriter`. A result is returned once its files exist, which are written while the next batch goes
    through the network; the JSON files are written when the last result has been fetched."""
    resume: bool = False
    """With ``out_dir``: skip what an interrupted call with the same model and options has written there, and complete
    its JSON files."""
    on_broken: Callable[[Source, str], None] | None = None
    """Called with the image and a sentence for each image that cannot be read or does not fit in memory, which is then
    skipped; by default the first one raises."""
    channel_order: str | None = None
    """'rgb' or 'bgr', for arrays and tensors, which do not state it themselves."""
    allow_urls: bool = False
    """Fetch photos whose addresses are given; off by default, since inputs may come from strangers."""
    allow_private_urls: bool = False
    """Also fetch them from this machine and private networks, and through a proxy."""
    max_frames: int | None = None
    """Maximum number of frames of each video."""
    object_mask_thr: float | None = None
    """Minimum class score of a panoptic segment, 0..1. This and the following defaults are those of the config's
    ``test_cfg``."""
    overlap_thr: float | None = None
    """Minimum share of its own mask that a panoptic segment has to keep, 0..1."""
    max_per_image: int | None = None
    """Pairs of query and class that are considered for instances."""
    mask_format: str | None = None
    """Instances as 'dense' masks (n, H, W), as 'rle', a list of COCO's run-length codes, or 'auto', codes for photos
    above 4 megapixels."""

    def __post_init__(self) -> None:
        check_tasks(self.tasks)
        if self.token is not None:
            check_task(self.token)
        for value, name in ((self.batch_size, 'batch size'), (self.max_frames, 'max_frames')):
            if value is not None and value < 1:
                raise UserError(f'A {name} of {value} leaves no image; give 1 or more.')

        if self.resume and self.out_dir is None:
            raise UserError('resume continues in a folder; give out_dir, too.')

    @classmethod
    def of_call(cls, **options: Any) -> Self:
        """Return the options of a call, or raise a UserError for one that does not exist."""
        known = [field.name for field in fields(cls)]
        for name in options:
            if name not in known:
                raise UserError(
                    f'There is no option {name}{did_you_mean(name, known)}; the options are {", ".join(known)}.'
                )
        return cls(**options)

    @property
    def thresholds(self) -> dict[str, Any]:
        """What :meth:`PhotoLogits.predict` takes besides tasks and token."""
        names = ('object_mask_thr', 'overlap_thr', 'max_per_image', 'mask_format')
        return {name: getattr(self, name) for name in names}
