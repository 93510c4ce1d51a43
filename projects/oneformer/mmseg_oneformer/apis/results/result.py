"""What one image was answered, as a user holds it: arrays, names and colours, and the way to other tools.

Decisions:
* Nothing is computed before it is asked for: masks stay run-length codes or tensors until somebody reads them.
* Class indices run from 0 to K-1 in the order of ``classes``; the exports for COCO use ``category_ids``.
* Arrays are numpy's and photos are BGR as everywhere in OpenMMLab; pictures to look at are RGB.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from mmdet.structures import DetDataSample

from ...run_lengths import decode_mask
from ...tasks import TASKS
from ...visualization import draw_answers, draw_sample, palette_colors
from ...visualization.colors import Color
from ..sources import Source
from . import exports
from .agreement import Agreement, compare
from .regions import FIELDS, regions
from .writer import AnswerWriter

if TYPE_CHECKING:
    from supervision import Detections

__all__ = ['Instances', 'OneFormerResult', 'Panoptic', 'PanopticSegment']


class Instances:
    """The instances of an image, the best first; ``instances[scores >= 0.5]`` are some of them.

    Args:
        labels: (n,) class indices.
        scores: (n,) in 0..1.
        boxes: (n, 4) xyxy in pixels, x2 and y2 one past the last pixel.
        names: of all classes.
        given: n masks, each (H, W) bool or a COCO run-length code.
        size: height and width of the photo.
    """

    def __init__(
        self,
        labels: np.ndarray,
        scores: np.ndarray,
        boxes: np.ndarray,
        names: Sequence[str],
        given: Sequence[Any],
        size: tuple[int, int],
    ) -> None:
        self.labels, self.scores, self.boxes = labels, scores, boxes
        self.class_names, self.given, self.size = tuple(names), given, size

    @property
    def names(self) -> list[str]:
        """Class name of each."""
        return [self.class_names[label] for label in self.labels.tolist()]

    @cached_property
    def masks(self) -> np.ndarray:
        """All masks, (n, H, W) bool; for one at a time, which large photos want, see :meth:`mask`."""
        return np.stack([self.mask(k) for k in range(len(self))]) if len(self) else np.zeros((0, *self.size), bool)

    def mask(self, index: int) -> np.ndarray:
        """Mask (H, W) bool of one instance."""
        return decode_mask(self.given[index])

    def __len__(self) -> int:
        """Their number."""
        return len(self.labels)

    def __getitem__(self, which: Any) -> 'Instances':
        """Some of them, by index, slice, index array or bool array."""
        index = np.atleast_1d(np.arange(len(self))[which])
        given = [self.given[k] for k in index.tolist()]
        return Instances(self.labels[index], self.scores[index], self.boxes[index], self.class_names, given, self.size)

    def __repr__(self) -> str:
        """How many of which class."""
        return f'Instances({len(self)}: {_tally(self.names)})' if len(self) else 'Instances(none)'


class PanopticSegment(NamedTuple):
    """One segment of a panoptic map."""

    id: int
    """Its value in ``Panoptic.ids``."""
    label: int
    name: str
    is_thing: bool
    score: float


class Panoptic(NamedTuple):
    """Every pixel's segment."""

    ids: np.ndarray
    """(H, W) int32; class + 1000 * k, and K for void."""
    segments: tuple[PanopticSegment, ...]

    @property
    def void(self) -> np.ndarray:
        """Pixels (H, W) bool of no segment."""
        return ~np.isin(self.ids, [segment.id for segment in self.segments])

    def mask(self, segment: PanopticSegment) -> np.ndarray:
        """Mask (H, W) bool of one segment."""
        return self.ids == segment.id

    @property
    def labels(self) -> np.ndarray:
        """Class index of every pixel, (H, W) int32, -1 for void."""
        labels = np.full(self.ids.shape, -1, np.int32)
        for segment in self.segments:
            labels[self.mask(segment)] = segment.label
        return labels

    def __repr__(self) -> str:
        """How many of which class."""
        return f'Panoptic({len(self.segments)} segments: {_tally(segment.name for segment in self.segments)})'


class OneFormerResult:
    """The answers for one image; those that were not asked for are None.

    Example:
        >>> result = infer('street.jpg')[0]
        >>> result
        OneFormerResult(street.jpg, 1024 x 683; semantic: 7 classes; ...)
        >>> result.instances[result.instances.scores > 0.5].names
        >>> result.save('answers')

    Args:
        source: The image as it was handed in.
        image: The photo, (H, W, 3) uint8 BGR.
        sample: On the CPU, with any of ``pred_sem_seg``, ``pred_instances`` and ``pred_panoptic_seg``: what the tools
            of mmdet and mmseg read.
        dataset_meta: ``classes``, ``thing_ids`` and, if wished, ``palette`` and ``category_ids``.
    """

    def __init__(
        self, source: Source, image: np.ndarray, sample: DetDataSample, dataset_meta: Mapping[str, Any]
    ) -> None:
        self.source, self.image, self.sample, self.dataset_meta = source, image, sample, dataset_meta

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the K classes."""
        return tuple(self.dataset_meta['classes'])

    @cached_property
    def colors(self) -> list[Color]:
        """Colour of each class, red, green, blue in 0..255."""
        return palette_colors(self.dataset_meta)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the photo."""
        return self.image.shape[0], self.image.shape[1]

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that were answered."""
        return tuple(task for task in TASKS if FIELDS[task] in self.sample)

    @cached_property
    def semantic(self) -> np.ndarray | None:
        """Class index of every pixel, (H, W) int64."""
        return self.sample.pred_sem_seg.sem_seg[0].numpy() if 'semantic' in self.tasks else None

    @cached_property
    def instances(self) -> Instances | None:
        """The instances, the best first."""
        if 'instance' not in self.tasks:
            return None
        found = self.sample.pred_instances
        arrays = found.labels.numpy(), found.scores.numpy(), found.bboxes.numpy()
        return Instances(*arrays, self.classes, found.masks, self.size)

    @cached_property
    def panoptic(self) -> Panoptic | None:
        """The panoptic map and its segments."""
        if 'panoptic' not in self.tasks:
            return None
        answer = self.sample.pred_panoptic_seg
        segments = (
            PanopticSegment(
                info['id'],
                info['category_id'],
                self.classes[info['category_id']],
                bool(info['isthing']),
                float(info['score']),
            )
            for info in answer.segments_info
        )
        return Panoptic(answer.sem_seg[0].numpy(), tuple(segments))

    def __repr__(self) -> str:
        """What a person wants to know first."""
        parts = [f'{self.source.file_name}, {self.size[1]} x {self.size[0]}']
        if self.semantic is not None:
            parts.append(f'semantic: {len(np.unique(self.semantic))} classes')
        if self.instances is not None:
            sure = self.instances[self.instances.scores >= 0.5]
            parts.append(f'instances: {len(sure)} with a score of 0.5 or more ({_tally(sure.names)})')
        if self.panoptic is not None:
            names = _tally(segment.name for segment in self.panoptic.segments)
            parts.append(f'panoptic: {len(self.panoptic.segments)} segments ({names})')
        return f'OneFormerResult({"; ".join(parts)})'

    def plot(self, task: str | None = None, score_thr: float = 0.5) -> np.ndarray:
        """Draw one task's answer over the photo, or photo and all answers side by side.

        Args:
            task: Which answer; all by default.
            score_thr: Instances below are not drawn.

        Returns:
            The picture, (H', W', 3) uint8 RGB.

        Raises:
            ValueError: If the task was not answered.
        """
        rgb = np.ascontiguousarray(self.image[:, :, ::-1])
        if task is None:
            return draw_sample(rgb, self.sample, self.dataset_meta, score_thr)
        self._require(task)
        return draw_answers(rgb, self.sample, self.dataset_meta, score_thr)[task]

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the answers into a folder, as :class:`AnswerWriter` describes; returns the folder.

        One image's JSON files are overwritten by the next one's: give each its own folder, or ``out_dir`` to the call.
        """
        with AnswerWriter(folder, [self.source], self.dataset_meta) as writer:
            writer.add(self.source, self.image, self.sample)
        return Path(folder)

    def to_coco_panoptic(self, image_id: int = 1) -> tuple[np.ndarray, dict[str, Any]]:
        """Return picture and annotation in COCO's panoptic format; see :func:`exports.coco_panoptic`."""
        self._require('panoptic')
        return exports.coco_panoptic(self.sample.pred_panoptic_seg, self.dataset_meta, image_id, self.source.name)

    def to_coco_instances(self, image_id: int = 1) -> list[dict[str, Any]]:
        """Return the instances in COCO's results format; see :func:`exports.coco_instances`."""
        self._require('instance')
        return exports.coco_instances(self.sample.pred_instances, self.dataset_meta, image_id)

    def to_labelme(self, task: str = 'panoptic', score_thr: float = 0.5) -> dict[str, Any]:
        """Return the content of a labelme file of one answer; see :func:`exports.labelme`."""
        found = regions(self.sample, task, self.dataset_meta, score_thr)
        return exports.labelme(found, self.source.file_name, self.size)

    def to_geojson(self, task: str = 'panoptic', score_thr: float = 0.5) -> dict[str, Any]:
        """Return one answer as GeoJSON, in pixels; see :func:`exports.geojson`."""
        return exports.geojson(regions(self.sample, task, self.dataset_meta, score_thr))

    def to_supervision(self, task: str = 'instance', score_thr: float = 0.5) -> 'Detections':
        """Return one answer as ``supervision.Detections``; see :func:`exports.supervision_detections`."""
        found = regions(self.sample, task, self.dataset_meta, score_thr)
        return exports.supervision_detections(found, self.size)

    def compare(self, score_thr: float = 0.5) -> Agreement:
        """Find where the three answers contradict each other; see :func:`agreement.compare`.

        Raises:
            ValueError: If a task was not answered.
        """
        for task in TASKS:
            self._require(task)
        assert self.semantic is not None and self.panoptic is not None
        masks = [
            (region.label, region.mask) for region in regions(self.sample, 'instance', self.dataset_meta, score_thr)
        ]
        things = [segment.id for segment in self.panoptic.segments if segment.is_thing]
        is_thing = np.isin(self.panoptic.ids, things)
        return compare(self.semantic, masks, self.panoptic.labels, is_thing, self.classes)

    def _require(self, task: str) -> None:
        if task not in self.tasks:
            raise ValueError(f'The {task} answer was not asked for; add {task!r} to the tasks of the call.')


def _tally(names: Any) -> str:
    """Return "3 person, 1 dog", the most frequent first, at most six names."""
    counts = Counter(names).most_common()
    shown = ', '.join(f'{count} {name}' for name, count in counts[:6])
    return f'{shown}, ...' if len(counts) > 6 else shown or 'none'
