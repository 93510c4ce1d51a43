"""Photos with semantic maps only: the class of every pixel, and no objects."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS

from ..annotations.semantic_png import MAX_VALUE, read_values
from ..annotations.text import read_text
from ..errors import MissingFileError, UserError
from ..photos.suffixes import photos_below
from ..visualization.colors import class_colors
from .base import SegmentationDataset
from .transforms.annotation_loading import SemanticValues

__all__ = ['SemanticDataset']

SAMPLED = 16
"""Number of PNGs that are checked before training."""
MUCH = 0.01
"""Share of void pixels from which on masks are worth a warning."""


@DATASETS.register_module()
class SemanticDataset(SegmentationDataset):
    """Photos with one PNG each whose values are class indices; they train the semantic task.

    Nothing else is needed: no JSON and no instances. PNGs with a palette are read by their indices. A data info holds
    ``img_id`` and ``img_path``, and ``semantic_map_path`` and ``semantic_values`` for ``LoadPanopticIds``.

    Args:
        metainfo: ``classes``, in the order of the values; optionally ``thing_ids`` (default: none), which matter for a
            model that also has other tasks, and ``palette``.
        ann_file: Text file that lists the photos to use, without suffix, one per line; default: all.
        data_root: Folder that the other paths are relative to.
        data_prefix: ``img``: folder of the photos; ``seg``: folder of the PNGs, named like the photos.
        img_suffix: Suffix of the photos.
        seg_map_suffix: Suffix of the PNGs, which replaces it.
        ignore_index: The value of void, which no target covers.
        reduce_zero_label: Value 0 is void too, and value k is class k - 1.
        seed: Seed of the augmentation. ``PassSampler`` replaces it with the run's seed.
        **kwargs: ``task_probs``, ``pipeline``, ``test_mode``, ``indices`` and the other arguments of ``BaseDataset``.
    """

    tasks = ('semantic',)

    def __init__(
        self,
        metainfo: Mapping[str, Any] | None = None,
        ann_file: str = '',
        data_root: str = '',
        data_prefix: Mapping[str, str] | None = None,
        img_suffix: str = '.jpg',
        seg_map_suffix: str = '.png',
        ignore_index: int = 255,
        reduce_zero_label: bool = False,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        self.img_suffix, self.seg_map_suffix = img_suffix, seg_map_suffix
        self.ignore_index, self.reduce_zero_label = ignore_index, reduce_zero_label
        prefix = {'img': 'img', 'seg': 'seg', **(data_prefix or {})}
        super().__init__(
            seed=seed, metainfo=metainfo, ann_file=ann_file, data_root=data_root, data_prefix=prefix, **kwargs
        )

    @property
    def name(self) -> str:
        """The name of this data set in errors: the folder of its PNGs."""
        return self.data_prefix['seg']

    @classmethod
    def _load_metainfo(cls, metainfo: Mapping[str, Any] | None = None) -> dict:
        """Return complete metainfo: the classes are known before any file is read."""
        meta = super()._load_metainfo(metainfo)
        if 'classes' not in meta:
            raise UserError(
                f'{cls.__name__} needs metainfo=dict(classes=...): the names in the order of the values in the PNGs.'
            )
        meta['classes'] = tuple(meta['classes'])
        meta['thing_ids'] = tuple(sorted(int(label) for label in meta.get('thing_ids', ())))
        meta['palette'] = [tuple(color) for color in meta.get('palette') or class_colors(len(meta['classes']))]
        return meta

    def load_data_list(self) -> list[dict]:
        """Return one data info per photo, in the order of their names or of the list.

        Raises:
            FileNotFoundError: The list or a folder does not exist.
            UserError: There are no photos, or one has no PNG.
        """
        photos, maps = Path(self.data_prefix['img']), Path(self.data_prefix['seg'])
        for key, folder in (('img', photos), ('seg', maps)):
            if not folder.is_dir():
                raise MissingFileError(f'Folder {folder} does not exist; set data_root and data_prefix.{key}.')
        names = self._names(photos)
        there = {path.relative_to(maps).as_posix() for path in maps.rglob(f'*{self.seg_map_suffix}')}
        missing = [name for name in names if name + self.seg_map_suffix not in there]
        if missing:
            raise UserError(
                f'{len(missing)} of {len(names)} photos have no semantic map, such as '
                f'{maps / (missing[0] + self.seg_map_suffix)}; add them, or list the annotated photos in ann_file.'
            )
        self._check_values([maps / (name + self.seg_map_suffix) for name in names])
        values = SemanticValues(len(self._metainfo['classes']), self.ignore_index, self.reduce_zero_label)
        return [
            {
                'img_id': name,
                'img_path': str(photos / (name + self.img_suffix)),
                'semantic_map_path': str(maps / (name + self.seg_map_suffix)),
                'semantic_values': values,
            }
            for name in names
        ]

    def _check_values(self, paths: Sequence[Path]) -> None:
        """Warn if the PNGs look like masks of 0 and 255, where 255 is no class: nothing else would reveal it."""
        classes = self._metainfo['classes']
        first = int(self.reduce_zero_label)
        counts = np.zeros(MAX_VALUE + 1, dtype=np.int64)
        for path in paths[:: max(1, len(paths) // SAMPLED)]:
            with suppress(UserError):  # Reported when its turn comes.
                counts += np.bincount(read_values(path).reshape(-1), minlength=len(counts))
        void = counts[self.ignore_index] / max(counts.sum(), 1) if 0 <= self.ignore_index <= MAX_VALUE else 0
        present = counts[first : first + len(classes)] > 0
        if len(classes) > 1 and present.sum() <= 1 and void > MUCH:
            absent = [name for name, there in zip(classes, present) if not there]
            MMLogger.get_current_instance().warning(
                f'{self.name}: none of the PNGs checked has a pixel of {", ".join(absent[:5])}, and void '
                f'({self.ignore_index}) covers {void:.0%}; in masks of 0 and 255 replace 255 by the index of the class.'
            )

    def _tell_unused(self, photos: Path, files: Sequence[Path]) -> None:
        """Warn of photos that another ending leaves out; PNGs beside the photos are taken for maps."""
        files = [path for path in files if not path.name.endswith(self.seg_map_suffix)]
        if files:
            MMLogger.get_current_instance().warning(
                f'{photos}: {len(files)} photos do not end in {self.img_suffix} and are left out, such as '
                f'{files[0].name}; set img_suffix, rename them, or list the annotated photos in ann_file.'
            )

    def _names(self, photos: Path) -> list[str]:
        """Return the paths of the photos below their folder, without suffix."""
        if self.ann_file:
            path = Path(self.ann_file)
            if not path.is_file():
                raise MissingFileError(f'List {path} does not exist; put it there or leave ann_file out.')
            names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
        else:
            files = photos_below(photos)
            found = [path for path in files if path.name.endswith(self.img_suffix)]
            self._tell_unused(photos, [path for path in files if path not in set(found)])
            names = sorted(path.relative_to(photos).as_posix().removesuffix(self.img_suffix) for path in found)
        if not names:
            raise UserError(
                f'{self.ann_file or photos} has no photos that end in {self.img_suffix}; set img_suffix or ann_file.'
            )
        return names
