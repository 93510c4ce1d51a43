"""Answers about videos as videos."""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from mmengine.structures import BaseDataElement

from ...files import atomic_path
from ...visualization import draw_answers
from ..sources import Source, Video
from .writer import refuse_folder_of

__all__ = ['VideoWriter']

CODEC = 'mp4v'
"""MPEG-4 part 2. The wheels of OpenCV bring no H.264 encoder, and their VP9 takes sixty times as long."""


class VideoWriter:
    """Writes the answers of videos into a folder, a video a task: ``<name>_<task>.mp4``; a context manager.

    A video appears whole or not at all; that of a camera, which has no end of its own, as far as it has come when its
    stream is left or interrupted.

    Args:
        folder: Where to; made if missing.
        videos: All that will come, one after the other.
        dataset_meta: ``classes`` and, if wished, ``palette``.
        score_thr: Instances below are not drawn.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        videos: Sequence[Video],
        dataset_meta: Mapping[str, Any],
        score_thr: float = 0.5,
    ) -> None:
        self.folder, self.meta, self.score_thr = Path(folder), dataset_meta, score_thr
        refuse_folder_of([video.path for video in videos], self.folder)
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
        if is_camera and kind in (KeyboardInterrupt, GeneratorExit):
            self._files.close()
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
            self._files.close()
            self._video, self._writers = source.frame.video, {}
        for task, picture in draw_answers(image[:, :, ::-1], sample, self.meta, self.score_thr).items():
            if task not in self._writers:
                self._writers[task] = self._open(f'{source.frame.video.name}_{task}.mp4', picture, source.frame.fps)
            writer, size = self._writers[task]
            if picture.shape[1::-1] != size:
                picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
            writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))

    def _open(self, name: str, picture: np.ndarray, fps: float) -> tuple[cv2.VideoWriter, tuple[int, int]]:
        """Begin a file whose frames are as large as ``picture`` (H, W, 3), but even, as the codec wants them."""
        size = picture.shape[1] // 2 * 2, picture.shape[0] // 2 * 2
        path = self._files.enter_context(atomic_path(self.folder / name))
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*CODEC), fps, size)
        self._files.callback(writer.release)
        if not writer.isOpened():
            raise OSError(
                f'{self.folder / name} cannot be written as a video; is the disk full, or OpenCV without ffmpeg?'
            )
        return writer, size
