"""Videos and cameras as images, one at a time; none is kept."""

import math
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from functools import partial
from typing import NoReturn

import cv2
import numpy as np

from ..errors import UserError
from .sources import Frame, Source, Video

__all__ = ['count_images', 'each_image']

USUAL_FPS = 25.0
"""Used if a camera or file does not state its own."""


def each_image(items: Iterable[Source | Video], max_frames: int | None = None) -> Generator[Source, None, None]:
    """Yield the images of a call, and the frames of its videos in their places.

    A video that cannot be read becomes one source whose ``read`` raises the error.

    Args:
        items: Images and videos.
        max_frames: Maximum number of frames of each video; a camera has no end without it.
    """
    for item in items:
        if isinstance(item, Source):
            yield item
        else:
            yield from _frames(item, max_frames)


def count_images(items: Iterable[Source | Video], max_frames: int | None = None) -> int | None:
    """Return how many images :func:`each_image` will yield, or None if a file does not state its length."""
    total = 0
    for item in items:
        if isinstance(item, Source):
            total += 1
        elif item.camera is not None:
            if max_frames is None:
                return None
            total += max_frames
        else:
            with _opened(item) as capture:
                stated = capture.get(cv2.CAP_PROP_FRAME_COUNT)
            if not 0 < stated < 1e9:  # Streams without an index state no number, or nonsense.
                return None
            total += int(stated) if max_frames is None else min(int(stated), max_frames)
    return total


def _frames(video: Video, max_frames: int | None) -> Generator[Source, None, None]:
    with _opened(video) as capture:
        fps = capture.get(cv2.CAP_PROP_FPS)
        fps = fps if math.isfinite(fps) and 0 < fps <= 1000 else USUAL_FPS
        number = 0
        while max_frames is None or number < max_frames:
            there, image = capture.read()
            if not there:
                break
            name = f'{video.name}_{number:06d}'
            yield Source(name, f'{name}.png', read=partial(_as_it_is, image), frame=Frame(video, number, fps))
            number += 1
    if not number:
        what = f'Camera {video.camera}' if video.path is None else f'Video {video.path}'
        remedy = 'check that it is connected and free' if video.path is None else 'it may be damaged or unsupported'
        yield Source(video.name, video.file_name, read=partial(_fail, f'{what} gives no picture; {remedy}.'))


@contextmanager
def _opened(video: Video) -> Generator[cv2.VideoCapture, None, None]:
    capture = cv2.VideoCapture(str(video.path) if video.camera is None else video.camera)
    try:
        if video.camera is not None:
            capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # A network slower than the camera predicts what is seen now.
        yield capture
    finally:
        capture.release()


def _as_it_is(image: np.ndarray) -> np.ndarray:
    return image


def _fail(reason: str) -> NoReturn:
    raise UserError(reason)
