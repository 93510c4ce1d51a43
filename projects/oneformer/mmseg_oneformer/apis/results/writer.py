"""Answers as files: PNG maps, COCO's JSON formats and pictures."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from mmengine.structures import BaseDataElement
from PIL import Image

from ...files import atomic_path, write_atomic
from ...visualization import draw_answers
from ..sources import Source
from .exports import class_map, coco_categories, coco_image, coco_instances, coco_panoptic


class AnswerWriter:
    """Writes the answers of a list of images into a folder; a context manager.

    For each image, what it has of:

    * ``<name>_semantic.png``: class index of each pixel, 8 bit (16 bit beyond 256 classes);
    * ``<name>_panoptic.png``: COCO's panoptic format, id = R + 256 G + 65536 B, 0 = void; ids are colours to look at;
    * ``overlays/<name>_<task>.jpg``: the answer drawn over the photo.

    At the end, unless an exception ends the block, for all images:

    * ``panoptic.json``: COCO's panoptic format with ``images``, ``annotations`` and ``categories``;
    * ``instances.json``: COCO's results format, with run-length encoded masks.

    Categories are class indices, 0 to K-1, unless the meta says ``category_ids``. Images are numbered from 1, or by
    their names where all are different numbers, as COCO's are. Every file appears whole or not at all.

    Args:
        folder: Where to; made if missing.
        sources: All images that will come.
        dataset_meta: ``classes``, ``thing_ids`` and, if wished, ``palette`` and ``category_ids``.
        score_thr: Instances below are not drawn; ``instances.json`` has all.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        sources: Sequence[Source],
        dataset_meta: Mapping[str, Any],
        score_thr: float = 0.5,
    ) -> None:
        self.folder, self.score_thr, self.meta = Path(folder), score_thr, dataset_meta
        names = [source.name for source in sources]
        numbers = {int(name) for name in names if name.isdecimal()}
        by_number = len(numbers) == len(names)
        self.image_ids = {name: int(name) if by_number else k for k, name in enumerate(names, start=1)}
        self.images: list[dict[str, Any]] = []
        self.panoptic: list[dict[str, Any]] = []
        self.instances: list[dict[str, Any]] = []
        self.tasks: set[str] = set()
        refuse_folder_of([source.path for source in sources], self.folder)

    def __enter__(self) -> 'AnswerWriter':
        """Begin; nothing is written yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the JSON files."""
        if kind is not None or not self.images:
            return
        if 'panoptic' in self.tasks:
            content = {'images': self.images, 'annotations': self.panoptic, 'categories': coco_categories(self.meta)}
            write_atomic(self.folder / 'panoptic.json', json.dumps(content))
        if 'instance' in self.tasks:
            write_atomic(self.folder / 'instances.json', json.dumps(self.instances))

    def add(self, source: Source, image: np.ndarray, sample: BaseDataElement) -> None:
        """Write the files of one image.

        Args:
            source: The image, one of those given at the start.
            image: (H, W, 3) uint8 BGR.
            sample: With any of ``pred_sem_seg``, ``pred_instances`` and ``pred_panoptic_seg``, on the CPU.
        """
        number = self.image_ids[source.name]
        self.images.append(coco_image(number, source.file_name, image.shape[:2]))
        if 'pred_sem_seg' in sample:
            labels = sample.pred_sem_seg.sem_seg[0].numpy()
            self._save(f'{source.name}_semantic.png', class_map(labels, len(self.meta['classes'])))
        if 'pred_panoptic_seg' in sample:
            picture, annotation = coco_panoptic(sample.pred_panoptic_seg, self.meta, number, source.name)
            self._save(annotation['file_name'], picture)
            self.panoptic.append(annotation)
        if 'pred_instances' in sample:
            for instance in coco_instances(sample.pred_instances, self.meta, number):
                self.instances.append({**instance, 'file_name': source.file_name})
        drawn = draw_answers(image[:, :, ::-1], sample, self.meta, self.score_thr)
        for task, overlay in drawn.items():
            self._save(f'overlays/{source.name}_{task}.jpg', overlay)
        self.tasks.update(drawn)

    def _save(self, name: str, picture: np.ndarray) -> None:
        """Write a picture, as PNG or as JPEG with colours at full resolution."""
        options: dict[str, Any] = {'quality': 92, 'subsampling': 0} if name.endswith('.jpg') else {}
        with atomic_path(self.folder / name) as path:
            Image.fromarray(picture).save(path, **options)


def refuse_folder_of(paths: Iterable[Path | None], folder: Path) -> None:
    """Raise a ValueError if one of the files is in ``folder``, where answers would stand among photos."""
    if any(path is not None and path.parent.resolve() == folder.resolve() for path in paths):
        raise ValueError(f'Answers cannot be written to {folder}, where the photos are; choose another folder.')
