"""Answers as files: PNG maps, COCO's JSON formats and pictures."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from mmengine.structures import BaseDataElement
from PIL import Image
from pycocotools import mask as rle

from ..files import atomic_path, write_atomic
from ..run_lengths import encode_masks
from ..visualization import class_colors, draw_answers, instance_color
from ..visualization.colors import Color
from .sources import Source


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
        self.classes = tuple(dataset_meta['classes'])
        palette = dataset_meta.get('palette')
        self.colors = class_colors(len(self.classes), None if isinstance(palette, str) else palette)
        self.category_ids = tuple(dataset_meta.get('category_ids', range(len(self.classes))))
        names = [source.name for source in sources]
        numbers = {int(name) for name in names if name.isdecimal()}
        by_number = len(numbers) == len(names)
        self.image_ids = {name: int(name) if by_number else k for k, name in enumerate(names, start=1)}
        self.images: list[dict[str, Any]] = []
        self.panoptic: list[dict[str, Any]] = []
        self.instances: list[dict[str, Any]] = []
        self.tasks: set[str] = set()
        for source in sources:
            if source.path is not None and source.path.parent.resolve() == self.folder.resolve():
                raise ValueError(f'Answers cannot be written to {folder}, where the photos are; choose another folder.')

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
            content = {'images': self.images, 'annotations': self.panoptic, 'categories': self._categories()}
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
        entry = {'id': self.image_ids[source.name], 'file_name': source.file_name}
        self.images.append({**entry, 'width': image.shape[1], 'height': image.shape[0]})
        if 'pred_sem_seg' in sample:
            dtype = np.uint8 if len(self.classes) <= 256 else np.uint16
            self._save(f'{source.name}_semantic.png', sample.pred_sem_seg.sem_seg[0].numpy().astype(dtype))
        if 'pred_panoptic_seg' in sample:
            self._add_panoptic(source, sample.pred_panoptic_seg)
        if 'pred_instances' in sample:
            self._add_instances(entry, sample.pred_instances)
        pictures = draw_answers(image[:, :, ::-1], sample, self.meta, self.score_thr)
        for task, picture in pictures.items():
            self._save(f'overlays/{source.name}_{task}.jpg', picture)
        self.tasks.update(pictures)

    def _add_panoptic(self, source: Source, answer: Any) -> None:
        name = f'{source.name}_panoptic.png'
        ids = answer.sem_seg[0].numpy()
        picture, segments = np.zeros((*ids.shape, 3), np.uint8), []
        used: set[Color] = {(0, 0, 0)}
        count: dict[int, int] = {}
        for info in answer.segments_info:
            label, mask = info['category_id'], ids == info['id']
            color = self._free_color(label, count, used)
            picture[mask] = color
            segments.append(
                {
                    'id': color[0] + 256 * color[1] + 65536 * color[2],
                    'category_id': self.category_ids[label],
                    'iscrowd': 0,
                    'area': int(mask.sum()),
                    'bbox': _box(mask),
                    'score': round(float(info['score']), 6),
                }
            )
        self._save(name, picture)
        annotation = {'image_id': self.image_ids[source.name], 'file_name': name, 'segments_info': segments}
        self.panoptic.append(annotation)

    def _free_color(self, label: int, count: dict[int, int], used: set[Color]) -> Color:
        """Return the next shade of a class that no other segment of the image has, and note it."""
        while True:
            color = instance_color(self.colors[label], count.get(label, 0))
            # A grey class runs out of shades early; another blue is not seen.
            color = (color[0], color[1], (color[2] + count.get(label, 0) // 64) % 256)
            count[label] = count.get(label, 0) + 1
            if color not in used:
                used.add(color)
                return color

    def _add_instances(self, entry: dict[str, Any], found: Any) -> None:
        for label, score, box, mask in zip(found.labels, found.scores, found.bboxes, found.masks):
            code = mask if isinstance(mask, Mapping) else encode_masks(mask[None])[0]
            if not rle.area(code):
                continue
            left, top, right, bottom = box.tolist()
            self.instances.append(
                {
                    'image_id': entry['id'],
                    'file_name': entry['file_name'],
                    'category_id': self.category_ids[int(label)],
                    'segmentation': {'size': list(code['size']), 'counts': code['counts'].decode()},
                    'bbox': [left, top, right - left, bottom - top],
                    'score': round(float(score), 6),
                }
            )

    def _categories(self) -> list[dict[str, Any]]:
        things = set(self.meta.get('thing_ids', ()))
        return [
            {'id': self.category_ids[k], 'name': name, 'isthing': int(k in things), 'color': list(self.colors[k])}
            for k, name in enumerate(self.classes)
        ]

    def _save(self, name: str, picture: np.ndarray) -> None:
        """Write a picture, as PNG or as JPEG with colours at full resolution."""
        options: dict[str, Any] = {'quality': 92, 'subsampling': 0} if name.endswith('.jpg') else {}
        with atomic_path(self.folder / name) as path:
            Image.fromarray(picture).save(path, **options)


def _box(mask: np.ndarray) -> list[int]:
    """Return COCO's box (left, top, width, height) of a mask (H, W) bool with at least one pixel."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]
