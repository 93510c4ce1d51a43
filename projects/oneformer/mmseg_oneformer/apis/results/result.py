"""The predictions for one image, as a user holds them: arrays, names and colours, and the way to other tools.

Decisions:
* Nothing is computed before it is requested: masks stay run-length codes or tensors until they are read.
* Class indices run from 0 to K-1 in the order of ``classes``; the exports for COCO use ``category_ids``.
* Arrays are numpy's and photos are BGR as everywhere in OpenMMLab; pictures to look at are RGB.
"""

import io
import json
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from mmdet.structures import DetDataSample
from PIL import Image

from ...errors import UserError, did_you_mean
from ...files import write_atomic
from ...tasks import PREDICTION_FIELDS, TASKS
from ...visualization.colors import Color, palette_colors
from ...visualization.samples import draw_predictions, draw_sample
from ..sources import Source
from . import exports
from .agreement import Agreement, compare
from .predictions import Instances, Panoptic, PanopticSegment, tally
from .regions import check_predicted, present_classes, regions
from .writers import PredictionWriter

if TYPE_CHECKING:
    from supervision import Detections

__all__ = ['OneFormerResult']


class OneFormerResult:
    """The predictions for one image; those that were not requested are None.

    Example:
        >>> result = infer('street.jpg')
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
        """The tasks that were predicted."""
        return tuple(task for task in TASKS if PREDICTION_FIELDS[task] in self.sample)

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
        prediction = self.sample.pred_panoptic_seg
        segments = (
            PanopticSegment(
                info['id'],
                info['category_id'],
                self.classes[info['category_id']],
                bool(info['isthing']),
                float(info['score']),
            )
            for info in prediction.segments_info
        )
        return Panoptic(prediction.sem_seg[0].numpy(), tuple(segments))

    def __getitem__(self, index: object) -> NoReturn:
        """Tell code that expects a list of results, ``infer(photo)[0]`` or a loop, that there is one.

        Raises:
            UserError: Always.
        """
        if isinstance(index, str):
            raise UserError(f'A result has attributes, not keys; write result.{index}.')
        raise UserError(
            'infer(photo) returns the result of one photo, not a list; leave out [0], len() or the loop, or give a '
            'list of photos, which returns a list.'
        )

    def __len__(self) -> int:
        """Tell the same to ``len(infer(photo))``."""
        return len(self[0])

    def __bool__(self) -> bool:
        """Return True, as for any object: ``__len__`` must not be called for ``if result``."""
        return True

    def __repr__(self) -> str:
        """What a person wants to know first."""
        parts = [f'{self.source.file_name}, {self.size[1]} x {self.size[0]}']
        if self.semantic is not None:
            parts.append(f'semantic: {len(present_classes(self.semantic))} classes')
        if self.instances is not None:
            sure = self.instances[self.instances.scores >= 0.5]
            parts.append(f'instances: {len(sure)} with a score of 0.5 or more ({tally(sure.names)})')
        if self.panoptic is not None:
            names = tally(segment.name for segment in self.panoptic.segments)
            parts.append(f'panoptic: {len(self.panoptic.segments)} segments ({names})')
        return f'OneFormerResult({"; ".join(parts)})'

    def plot(self, task: str | None = None, score_thr: float = 0.5) -> np.ndarray:
        """Draw one task's prediction over the photo, or photo and all predictions side by side.

        Args:
            task: Which prediction; all by default.
            score_thr: Instances below are not drawn.

        Returns:
            The picture, (H', W', 3) uint8 RGB.

        Raises:
            UserError: If the task was not predicted.
        """
        rgb = np.ascontiguousarray(self.image[:, :, ::-1])
        if task is None:
            return draw_sample(rgb, self.sample, self.dataset_meta, score_thr)
        check_predicted(self.sample, task)
        return draw_predictions(rgb, self.sample, self.dataset_meta, score_thr)[task]

    def _repr_jpeg_(self) -> bytes:
        """What a notebook shows: photo and predictions side by side, at most 1600 pixels wide."""
        picture, stream = Image.fromarray(self.plot()), io.BytesIO()
        picture.thumbnail((1600, 1600))
        picture.save(stream, 'JPEG', quality=90)
        return stream.getvalue()

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the predictions into a folder, as :class:`PredictionWriter` describes; returns the folder.

        One image's JSON files are overwritten by the next one's: give each its own folder, or ``out_dir`` to the call.
        """
        with PredictionWriter(folder, [self.source], self.dataset_meta) as writer:
            writer.add(self.source, self.image, self.sample)
        return Path(folder)

    def export(self, form: str, folder: str | os.PathLike[str]) -> None:
        """Write each prediction into ``<folder>/<form>_<task>/``, in the form of another tool.

        Args:
            form: 'labelme' or 'geojson'.
            folder: Is made.

        Raises:
            UserError: There is no such form.
        """
        forms = {'labelme': (self.to_labelme, '.json'), 'geojson': (self.to_geojson, '.geojson')}
        if form not in forms:
            raise UserError(f'There is no form {form!r}{did_you_mean(form, forms)}; choose from {", ".join(forms)}.')
        convert, suffix = forms[form]
        for task in self.tasks:
            path = Path(folder) / f'{form}_{task}' / f'{self.source.name}{suffix}'
            content = convert(task)
            if form == 'labelme' and self.source.path is not None:
                # labelme looks for the photo from where the JSON is.
                content['imagePath'] = Path(os.path.relpath(self.source.path, path.parent)).as_posix()
            write_atomic(path, json.dumps(content))

    def to_coco_panoptic(self, image_id: int = 1) -> tuple[np.ndarray, dict[str, Any]]:
        """COCO's panoptic format.

        Args:
            image_id: The annotation's.

        Returns:
            The picture (H, W, 3) uint8 RGB, whose colours are ids, R + 256 G + 65536 B, and 0 void; and the annotation
            with ``segments_info``, whose category ids are the meta's ``category_ids``, else class indices.

        Raises:
            UserError: If the panoptic prediction was not requested.
        """
        check_predicted(self.sample, 'panoptic')
        return exports.coco_panoptic(self.sample.pred_panoptic_seg, self.dataset_meta, image_id, self.source.name)

    def to_coco_instances(self, image_id: int = 1) -> list[dict[str, Any]]:
        """COCO's results format: a dict an instance with run-length encoded mask, box (x, y, w, h) and score.

        All instances, also unlikely ones, since average precision counts them; empty masks are left out.

        Args:
            image_id: Of each result.

        Raises:
            UserError: If the instances were not requested.
        """
        check_predicted(self.sample, 'instance')
        return exports.coco_instances(self.sample.pred_instances, self.dataset_meta, image_id)

    def to_labelme(self, task: str = 'panoptic', score_thr: float | None = None) -> dict[str, Any]:
        """Content of a labelme file: a polygon for each part of a region; a mask where it has holes.

        Args:
            task: Which prediction.
            score_thr: Instances and panoptic segments that score less are left out; None: instances below 0.5.

        Raises:
            UserError: If the task was not predicted.
        """
        found = regions(self.sample, task, self.dataset_meta, score_thr)
        return exports.labelme(found, self.source.file_name, self.size)

    def to_geojson(self, task: str = 'panoptic', score_thr: float | None = None) -> dict[str, Any]:
        """GeoJSON's FeatureCollection: a valid MultiPolygon for each region, in pixels with y pointing down.

        Args:
            task: Which prediction.
            score_thr: Instances and panoptic segments that score less are left out; None: instances below 0.5.

        Raises:
            UserError: If the task was not predicted.
        """
        return exports.geojson(regions(self.sample, task, self.dataset_meta, score_thr))

    def to_supervision(self, task: str = 'instance', score_thr: float | None = None) -> 'Detections':
        """``supervision.Detections`` with masks, boxes, class indices, scores and ``data['class_name']``.

        Args:
            task: Which prediction; the semantic one has no scores.
            score_thr: Instances and panoptic segments that score less are left out; None: instances below 0.5.

        Raises:
            UserError: If the task was not predicted, or supervision is not installed.
        """
        found = regions(self.sample, task, self.dataset_meta, score_thr)
        return exports.supervision_detections(found, self.size)

    def compare(self, score_thr: float = 0.5) -> Agreement:
        """Find where the three predictions contradict each other.

        Args:
            score_thr: Instances below do not count.

        Raises:
            UserError: If a task was not predicted.
        """
        for task in TASKS:
            check_predicted(self.sample, task)
        assert self.semantic is not None and self.panoptic is not None
        # One mask at a time: those of a 12-megapixel photo together would fill gigabytes.
        masks = ((one.label, one.mask) for one in regions(self.sample, 'instance', self.dataset_meta, score_thr))
        things = [segment.id for segment in self.panoptic.segments if segment.is_thing]
        is_thing = np.isin(self.panoptic.ids, things)
        return compare(self.semantic, masks, self.panoptic.labels, is_thing, self.classes)
