"""The report as a metric: written while panoptic quality is measured, by any number of processes."""

import heapq
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.registry import METRICS

from ...console import say
from ...errors import UserError
from ...files import atomic_path
from ...tasks import TASKS
from ..base import Metric
from ..ground_truth import describe, panoptic_truth, to_map
from .page import Shown, write_page
from .records import Record, image_record

SCHEMA = 1
ORDERS = ('quality', 'fp', 'fn')
"""By what images are the worst: lowest PQ, most false, most missed segments."""


@dataclass
class Entry:
    """What is kept of an image: text, numbers, and of the worst the maps too, compressed."""

    record: str
    badness: tuple[float | None, ...]
    """By each of :data:`ORDERS`, larger is worse; None where there is nothing wrong."""
    maps: bytes | None = None


class Worst:
    """The ``limit`` worst of a sequence of entries by each order; of equals the first ones."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.heaps: list[list[tuple[float, int]]] = [[] for _ in ORDERS]

    def add(self, index: int, badness: Iterable[float | None]) -> set[int]:
        """Take an entry; return the indices, its own included, that are among the worst by no order any more."""
        seen = {index}
        for heap, value in zip(self.heaps, badness):
            if value is None:
                continue
            if len(heap) < self.limit:
                heapq.heappush(heap, (value, -index))
            else:
                seen.add(-heapq.heappushpop(heap, (value, -index))[1])
        return seen - self.indices()

    def indices(self) -> set[int]:
        """Return all that are among the worst by some order."""
        return {-negative for heap in self.heaps for _, negative in heap}


@METRICS.register_module()
class SegmentReport(Metric):
    """Writes ``report.json`` (every segment of every image) and ``index.html`` (the worst images) into a folder.

    Counts ``pred_panoptic_seg`` as ``PanopticQuality`` does and returns no numbers of its own. An image takes a few
    kilobytes of memory; maps are kept for the worst only, and pictures drawn at the end. Of several processes the first
    one writes; it has to see the photos.

    Args:
        folder: Where to; made if missing. An earlier report there is replaced.
        num_images: How many of the worst images the page shows by each order: lowest PQ, most false and most missed
            segments. 0 writes the JSON alone.
        title: Of the page, such as the name of the model.
        **gathering: Arguments of :class:`Metric`.

    Raises:
        UserError: The folder is a file, or the number is negative.
    """

    def __init__(self, folder: str, num_images: int = 50, title: str = '', **gathering: Any) -> None:
        super().__init__(**gathering)
        if Path(folder).is_file():
            raise UserError(f'the report needs a folder, and {folder} is a file; choose another name.')
        if num_images < 0:
            raise UserError(f'the page cannot show {num_images} images; give 0 or more.')
        self.folder, self.num_images, self.title = Path(folder), num_images, title
        self.worst = Worst(num_images)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Record one batch."""
        if not self.results:
            self.worst = Worst(self.num_images)
        num_classes = len(self.dataset_meta['classes'])
        for sample in data_samples:
            truth, prediction = panoptic_truth(sample), sample['pred_panoptic_seg']
            pred_map = to_map(prediction['sem_seg'])
            try:
                record = image_record(truth, pred_map, prediction['segments_info'], num_classes)
            except ValueError as error:
                raise UserError(f'{describe(sample)}: {error}') from error
            record = {'img_id': sample['img_id'], 'file': str(sample['img_path'])} | record
            entry = Entry(json.dumps(record), badness(record))
            self.results.append(entry)
            outdated = self.worst.add(len(self.results) - 1, entry.badness)
            if len(self.results) - 1 not in outdated:
                ids = np.array([0, *(segment['id'] for segment in truth.segments)])
                entry.maps = pack(ids[truth.index_map], pred_map)
            for index in outdated:
                self.results[index].maps = None

    def compute_metrics(self, results: list[Entry]) -> dict[str, float]:
        """Write the files; there is no number to return."""
        classes = self.class_counts(results)
        with atomic_path(self.folder / 'report.json') as path, path.open('w') as file:
            head = {'schema': SCHEMA, 'title': self.title, 'num_images': len(results), 'classes': classes}
            # Image by image: the text of a large data set as one string would double the memory.
            file.write(json.dumps(head)[:-1] + ', "images": [')
            file.writelines(('\n' if k == 0 else ',\n') + entry.record for k, entry in enumerate(results))
            file.write('\n]}\n')
        where = self.folder / 'report.json'
        if self.num_images:
            worst = Worst(self.num_images)
            for index, entry in enumerate(results):
                worst.add(index, entry.badness)
            chosen = [results[index] for index in sorted(worst.indices())]
            shown = [Shown(json.loads(entry.record), *unpack(entry.maps)) for entry in chosen if entry.maps]
            where = write_page(self.folder, shown, self.dataset_meta, classes, self.title, len(results))
        say(f'report of {len(results)} images: {where}')
        return {}

    def class_counts(self, results: Sequence[Entry]) -> list[dict[str, Any]]:
        """Return name, kind and the counts ``tp``, ``fp`` and ``fn`` of each class over all images."""
        things = set(self.dataset_meta['thing_ids'])
        counts = [
            {'name': name, 'isthing': label in things, 'tp': 0, 'fp': 0, 'fn': 0}
            for label, name in enumerate(self.dataset_meta['classes'])
        ]
        for entry in results:
            for segment in json.loads(entry.record)['segments']:
                if segment['outcome'] in ('tp', 'fp', 'fn'):
                    counts[segment['class']][segment['outcome']] += 1
        return counts


def badness(record: Record) -> tuple[float | None, ...]:
    """Return how bad an image is by each of :data:`ORDERS`; a flawless one is bad by none."""
    quality = record['quality']
    return None if quality in (None, 100) else -quality, record['fp'] or None, record['fn'] or None


def pack(gt_map: np.ndarray, pred_map: np.ndarray) -> bytes:
    """Return two maps (H, W) of segment ids as a few kilobytes."""
    file = io.BytesIO()
    np.savez_compressed(file, gt=gt_map.astype(np.int32), pred=pred_map.astype(np.int32))
    return file.getvalue()


def unpack(packed: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return the two maps of :func:`pack`."""
    with np.load(io.BytesIO(packed)) as maps:
        return maps['gt'], maps['pred']


def report_config(
    folder: str | os.PathLike[str],
    num_images: int,
    title: str,
    tasks: Iterable[str] = TASKS,
    token_matrix: bool = False,
) -> Mapping[str, Any]:
    """Return the report's part of ``test_evaluator``.

    Raises:
        UserError: The test gives no panoptic prediction, or several.
    """
    if 'panoptic' not in tasks:
        raise UserError('the report is about panoptic segments; add panoptic to --tasks or leave out --report.')
    if token_matrix:
        raise UserError('the report shows one prediction an image; leave out --token-matrix, and choose by --token.')
    return {'type': 'SegmentReport', 'folder': str(folder), 'num_images': num_images, 'title': title}
