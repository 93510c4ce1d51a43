"""One prediction as the page draws it: segments with names, scores, colours and pixels.

Decisions:
* Pixels are sent as run lengths, not pictures: browsers that protect their users from fingerprinting change the pixels
  that a page reads back from a picture.
* Large photos are reduced to a size that a screen can show; files to download have every pixel.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from ..apis.results import OneFormerResult
from ..visualization.colors import Color, shades
from ..visualization.samples import display_names

__all__ = ['LEAST_SCORE', 'page_picture', 'page_prediction', 'page_size']

MAX_PIXELS = 1_500_000
"""Maximum height times width of what the page draws."""
LEAST_SCORE = 0.05
"""Instances with a lower score are noise and are not sent."""
SURE = 0.5
"""Instances with a lower score get the shades that the others leave, so those look as if they were drawn alone."""


class _Found(NamedTuple):
    label: int
    is_thing: bool
    score: float | None
    mask: np.ndarray
    """(h, w) bool, of the page's size."""


def page_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return height and width at which the page draws a photo of ``size`` (height, width)."""
    scale = min(1.0, (MAX_PIXELS / (size[0] * size[1])) ** 0.5)
    return max(1, int(size[0] * scale)), max(1, int(size[1] * scale))


def page_picture(image: np.ndarray) -> bytes:
    """Return a photo (H, W, 3) uint8 BGR as the PNG that the page draws."""
    height, width = page_size(image.shape[:2])
    if (height, width) != image.shape[:2]:
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.imencode('.png', image)[1].tobytes()


def page_prediction(result: OneFormerResult, task: str) -> dict[str, Any]:
    """Return one prediction for the page.

    Args:
        result: Has the task's prediction.
        task: 'semantic', 'instance' or 'panoptic'.

    Returns:
        ``segments``: for each ``name``, ``label``, ``score`` (0..1; null for the semantic prediction), ``color`` (red,
        green, blue) and ``area`` (share of the photo). And ``runs``, :func:`pixel_runs` of a map (h, w) of
        :func:`page_size` whose pixels are segment numbers from 1, 0 for none. Instances overlap, the best first: each
        has ``runs`` of its own instead, 1 inside.
    """
    found = [one for one in _FIND[task](result, *_picked(result.size)) if one.mask.any()]
    names, colors = display_names(result.classes), _colors(found, result.colors)
    segments: list[dict[str, Any]] = [
        {'name': names[one.label], 'label': one.label, 'score': one.score, 'color': color, 'area': one.mask.mean()}
        for one, color in zip(found, colors, strict=True)
    ]
    if task == 'instance':
        for segment, one in zip(segments, found, strict=True):
            segment['runs'] = pixel_runs(one.mask)
        return {'segments': segments}
    numbers = np.zeros(page_size(result.size), np.int32)
    for number, one in enumerate(found, start=1):
        numbers[one.mask] = number
    return {'segments': segments, 'runs': pixel_runs(numbers)}


def pixel_runs(array: np.ndarray) -> list[int]:
    """Return value, length, value, length, ... of the runs of equal pixels of a map (h, w), line by line."""
    flat = array.reshape(-1)
    starts = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))
    return np.stack([flat[starts], np.diff(starts, append=flat.size)], 1).reshape(-1).tolist()


def _picked(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows (h, 1) and columns (1, w) of a photo whose pixels are the page's."""
    rows, columns = (
        ((np.arange(wanted) + 0.5) * side / wanted).astype(np.int64) for side, wanted in zip(size, page_size(size))
    )
    return rows[:, None], columns[None]


def _semantic(result: OneFormerResult, rows: np.ndarray, columns: np.ndarray) -> Iterator[_Found]:
    assert result.semantic is not None
    labels = result.semantic[rows, columns]
    for label in np.unique(labels).tolist():
        yield _Found(label, False, None, labels == label)


def _instances(result: OneFormerResult, rows: np.ndarray, columns: np.ndarray) -> Iterator[_Found]:
    assert result.instances is not None
    found = result.instances
    for k, (label, score) in enumerate(zip(found.labels.tolist(), found.scores.tolist())):
        if score >= LEAST_SCORE:
            yield _Found(label, True, score, found.mask(k)[rows, columns])


def _panoptic(result: OneFormerResult, rows: np.ndarray, columns: np.ndarray) -> Iterator[_Found]:
    assert result.panoptic is not None
    ids = result.panoptic.ids[rows, columns]
    for segment in result.panoptic.segments:
        yield _Found(segment.label, segment.is_thing, segment.score, ids == segment.id)


_FIND = {'semantic': _semantic, 'instance': _instances, 'panoptic': _panoptic}


def _colors(found: Sequence[_Found], colors: Sequence[Color]) -> list[Color]:
    """Return the colour of each segment, as in the pictures to download."""
    things = {k for k, one in enumerate(found) if one.is_thing}
    unsure = {k for k in things if (found[k].score or 0) < SURE}
    return shades([one.label for one in found], [one.mask for one in found], things, colors, unsure)
