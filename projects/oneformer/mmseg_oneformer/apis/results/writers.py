"""Predictions as files: PNG maps, COCO's JSON formats and pictures; those of videos as videos."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from mmengine.structures import BaseDataElement
from PIL import Image

from ...errors import UserError, WriteError
from ...files import atomic_path, check_folder, write_atomic
from ...visualization.samples import draw_predictions
from ..sources import Source, Video
from .exports import class_map, coco_categories, coco_image, coco_instances, coco_panoptic
from .journal import Journal

__all__ = ['PredictionWriter', 'VideoWriter']

CODEC = 'mp4v'
"""MPEG-4 part 2. The wheels of OpenCV bring no H.264 encoder, and their VP9 takes sixty times as long."""


class PredictionWriter:
    """Writes the predictions of a list of images into a folder; a context manager.

    For each image, what it has of:

    * ``<name>_semantic.png``: class index of each pixel, 8 bit (16 bit beyond 256 classes);
    * ``<name>_panoptic.png``: COCO's panoptic format, id = R + 256 G + 65536 B, 0 = void; ids are colours to look at;
    * ``overlays/<name>_<task>.jpg``: the prediction drawn over the photo.

    At the end, unless an exception ends the block, for all images:

    * ``panoptic.json``: COCO's panoptic format with ``images``, ``annotations`` and ``categories``;
    * ``instances.json``: COCO's results format, with run-length encoded masks.

    Categories are class indices, 0 to K-1, unless the meta says ``category_ids``. Images are numbered from 1, or by
    their names where all are different numbers, as COCO's are. Every file appears whole or not at all. JSON files of an
    earlier run go when the block begins, since they would contradict the new maps.

    Args:
        folder: Where to; made if missing.
        sources: All images that will come.
        dataset_meta: ``classes``, ``thing_ids`` and, if wished, ``palette`` and ``category_ids``.
        score_thr: Instances below are not drawn; ``instances.json`` has all.
        resume: Keep what an interrupted run with the same settings has finished; see ``journal``.
        settings: Plain data that the predictions depend on.

    Raises:
        UserError: The run to be resumed had other settings.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        sources: Sequence[Source],
        dataset_meta: Mapping[str, Any],
        score_thr: float = 0.5,
        resume: bool = False,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.score_thr, self.meta = Path(folder), score_thr, dataset_meta
        names = [source.name for source in sources]
        numbers = {int(name) for name in names if name.isdecimal()}
        by_number = len(numbers) == len(names)
        self.image_ids = {name: int(name) if by_number else k for k, name in enumerate(names, start=1)}
        check_folder(self.folder)
        _check_apart([source.path for source in sources], self.folder)
        self.journal = Journal(self.folder, settings, resume)

    def __enter__(self) -> 'PredictionWriter':
        """Begin: JSON files of an earlier run are removed, and what a killed one left half written."""
        self.journal.clean()
        if self.folder.is_dir():
            for name in ('panoptic.json', 'instances.json'):
                (self.folder / name).unlink(missing_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the JSON files, unless an exception ended the block."""
        finished = self.journal.finished
        if kind is None:
            self._write_jsons([finished[name] for name in self.image_ids if name in finished])
        self.journal.close(complete=kind is None)

    def _write_jsons(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Write what is known of all images; those that other runs have finished may have had other numbers."""
        ids = [self.image_ids[record['name']] for record in records]
        if any('panoptic' in record for record in records):
            content = {
                'images': [{**record['image'], 'id': number} for record, number in zip(records, ids)],
                'annotations': [{**record['panoptic'], 'image_id': number} for record, number in zip(records, ids)],
                'categories': coco_categories(self.meta),
            }
            write_atomic(self.folder / 'panoptic.json', json.dumps(content))
        if any('instances' in record for record in records):
            instances = [
                {**instance, 'image_id': number}
                for record, number in zip(records, ids)
                for instance in record['instances']
            ]
            write_atomic(self.folder / 'instances.json', json.dumps(instances))

    def add(self, source: Source, image: np.ndarray, sample: BaseDataElement) -> None:
        """Write the files of one image.

        Args:
            source: The image, one of those given at the start.
            image: (H, W, 3) uint8 BGR.
            sample: With any of ``pred_sem_seg``, ``pred_instances`` and ``pred_panoptic_seg``, on the CPU.
        """
        number = self.image_ids[source.name]
        self.journal.begin()
        facts: dict[str, Any] = {'image': coco_image(number, source.file_name, image.shape[:2])}
        if 'pred_sem_seg' in sample:
            labels = sample.pred_sem_seg.sem_seg[0].numpy()
            self._save(f'{source.name}_semantic.png', class_map(labels, len(self.meta['classes'])))
        if 'pred_panoptic_seg' in sample:
            picture, facts['panoptic'] = coco_panoptic(sample.pred_panoptic_seg, self.meta, number, source.name)
            self._save(facts['panoptic']['file_name'], picture)
        if 'pred_instances' in sample:
            found = coco_instances(sample.pred_instances, self.meta, number)
            facts['instances'] = [{**instance, 'file_name': source.file_name} for instance in found]
        for task, overlay in draw_predictions(image[:, :, ::-1], sample, self.meta, self.score_thr).items():
            self._save(f'overlays/{source.name}_{task}.jpg', overlay)
        self.journal.add(source, **facts)

    def _save(self, name: str, picture: np.ndarray) -> None:
        """Write a picture, as PNG or as JPEG with colours at full resolution."""
        options: dict[str, Any] = {'quality': 92, 'subsampling': 0} if name.endswith('.jpg') else {}
        with atomic_path(self.folder / name) as path:
            Image.fromarray(picture).save(path, **options)


class VideoWriter:
    """Writes the predictions of videos into a folder, a video a task: ``<name>_<task>.mp4``; a context manager.

    A video appears whole or not at all; that of a camera, which has no end of its own, as far as it has come when its
    stream is left or interrupted.

    Args:
        folder: Where to; made if missing.
        videos: All that will come, one after the other.
        dataset_meta: ``classes`` and, if wished, ``palette``.
        score_thr: Instances below are not drawn.
        journal: Notes each video that is finished; its owner closes it.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        videos: Sequence[Video],
        dataset_meta: Mapping[str, Any],
        score_thr: float = 0.5,
        journal: Journal | None = None,
    ) -> None:
        self.folder, self.meta, self.score_thr = Path(folder), dataset_meta, score_thr
        check_folder(self.folder)
        _check_apart([video.path for video in videos], self.folder)
        self.journal = journal
        self._video: Video | None = None
        self._files = ExitStack()
        self._writers: dict[str, tuple[cv2.VideoWriter, tuple[int, int]]] = {}

    def __enter__(self) -> 'VideoWriter':
        """Begin; nothing is written yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the last video, or remove it if an exception ended the block."""
        is_camera = self._video is not None and self._video.path is None
        if kind is None or (is_camera and kind in (KeyboardInterrupt, GeneratorExit)):
            self._finish()
        else:
            self._files.__exit__(kind, error, trace)

    def add(self, source: Source, image: np.ndarray, sample: BaseDataElement) -> None:
        """Append one frame to its video.

        Args:
            source: Has a ``frame``.
            image: (H, W, 3) uint8 BGR.
            sample: With any of ``pred_sem_seg``, ``pred_instances`` and ``pred_panoptic_seg``, on the CPU.

        Raises:
            OSError: If the video cannot be written.
        """
        assert source.frame is not None
        if source.frame.video is not self._video:
            self._finish()
            self._video, self._writers = source.frame.video, {}
            if self.journal is not None:
                self.journal.begin()
        for task, picture in draw_predictions(image[:, :, ::-1], sample, self.meta, self.score_thr).items():
            if task not in self._writers:
                self._writers[task] = self._open(f'{source.frame.video.name}_{task}.mp4', picture, source.frame.fps)
            writer, size = self._writers[task]
            if picture.shape[1::-1] != size:
                picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
            writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))

    def _finish(self) -> None:
        self._files.close()
        if self.journal is not None and self._video is not None and self._video.path is not None:
            self.journal.add(self._video)

    def _open(self, name: str, picture: np.ndarray, fps: float) -> tuple[cv2.VideoWriter, tuple[int, int]]:
        """Begin a file whose frames are as large as ``picture`` (H, W, 3), but even, as the codec wants them."""
        size = picture.shape[1] // 2 * 2, picture.shape[0] // 2 * 2
        path = self._files.enter_context(atomic_path(self.folder / name))
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*CODEC), fps, size)
        self._files.callback(writer.release)
        if not writer.isOpened():
            raise WriteError(
                f'{self.folder / name} cannot be written as a video; is the disk full, or OpenCV without ffmpeg?'
            )
        return writer, size


def _check_apart(paths: Iterable[Path | None], folder: Path) -> None:
    """Raise a ValueError if one of the files is in ``folder``, where predictions would stand among photos."""
    if any(path is not None and path.parent.resolve() == folder.resolve() for path in paths):
        raise UserError(f'Predictions cannot be written to {folder}, where the photos are; choose another folder.')
