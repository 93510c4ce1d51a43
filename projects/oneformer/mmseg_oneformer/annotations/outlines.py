"""Outlines of objects, checked before they are drawn: polygons and COCO's run-length codes.

pycocotools trusts its input: a coordinate that is not finite or far away costs gigabytes or ends the process, and a
code that is too short leaves the rest of the mask uninitialised.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from .values import InvalidValueError, as_integer, brief

__all__ = ['check_polygon', 'check_segmentation', 'outline_code', 'partial_code', 'polygon_code']

Size = tuple[int, int]

MAX_LENGTH = 10_000_000
"""Maximum length of an outline in pixels: drawing takes 40 bytes for each, so a small file could use up the memory."""


def check_polygon(polygon: Any, size: Size) -> None:
    """Check a polygon x, y, x, y, ... in pixels.

    Args:
        polygon: List of numbers.
        size: Height and width of the photo.

    Raises:
        InvalidValueError: It has fewer than three points, half a point, or a coordinate that is not finite or lies
            farther outside the photo than the photo is large, or it is longer than ``MAX_LENGTH``.
    """
    if not isinstance(polygon, list | tuple):
        raise InvalidValueError(f'has {brief(polygon)} where an outline belongs')
    if len(polygon) < 6 or len(polygon) % 2:
        raise InvalidValueError(
            f'has an outline of {len(polygon)} numbers, which needs x and y of three points or more'
        )
    try:
        finite = math.isfinite(sum(polygon))
    except (TypeError, OverflowError):
        no_numbers = (
            f'{brief(value)} where a number belongs' for value in polygon if not isinstance(value, int | float)
        )
        raise InvalidValueError(f'has an outline with {next(no_numbers, "a number that is too large")}') from None
    if not finite:
        raise InvalidValueError('has an outline with a number that is not finite')
    # Nearly all polygons are near the photo in both directions, and have too few points to be too long.
    if min(polygon) < -min(size) or max(polygon) > 2 * min(size):
        _check_near(polygon, size)
    if len(polygon) * 1.5 * max(size) > MAX_LENGTH and (length := _length(polygon)) > MAX_LENGTH:
        raise InvalidValueError(f'has an outline that is {length:g} pixels long, more than {MAX_LENGTH:g}')


def _check_near(polygon: Sequence[float], size: Size) -> None:
    """Raise an InvalidValueError if a polygon lies farther outside the photo than the photo is large."""
    for offset, side in ((0, size[1]), (1, size[0])):
        least, most = min(polygon[offset::2]), max(polygon[offset::2])
        if least < -side or most > 2 * side:
            far = least if least < -side else most
            raise InvalidValueError(
                f'has an outline that lies far outside the photo of {size[1]}x{size[0]}: '
                f'{"y" if offset else "x"} is {far:g}'
            )


def _length(polygon: Sequence[float]) -> float:
    """Return the length of a closed polygon; of an edge it is the larger one of its width and height."""
    points = np.array(polygon, dtype=float).reshape(-1, 2)
    return float(np.abs(points - np.roll(points, 1, axis=0)).max(1).sum())


def check_segmentation(segmentation: Any, size: Size) -> None:
    """Check the ``segmentation`` of an instance JSON without drawing it; see :func:`outline_code`."""
    if isinstance(segmentation, list) and segmentation:
        if not isinstance(segmentation[0], list) and all(isinstance(part, int | float) for part in segmentation):
            raise InvalidValueError('has one flat list of numbers, but its segmentation has to be a list of outlines')
        for polygon in segmentation:
            check_polygon(polygon, size)
    elif isinstance(segmentation, Mapping):
        _counts(segmentation, size)
    elif segmentation:
        raise InvalidValueError(f'has the segmentation {brief(segmentation)}, which is neither outlines nor a mask')
    else:
        raise InvalidValueError('has no segmentation, only a box or nothing')


def polygon_code(polygons: Sequence[Sequence[float]], size: Size) -> dict[str, Any]:
    """Return the run-length code of the union of polygons (x, y, x, y, ...; pixels), drawn as COCO draws them.

    Raises:
        InvalidValueError: See :func:`check_polygon`.
    """
    for polygon in polygons:
        check_polygon(polygon, size)
    return mask_api.merge(mask_api.frPyObjects(_floats(polygons), *size))


def _floats(polygons: Sequence[Sequence[float]]) -> list[list[float]]:
    return [[float(value) for value in polygon] for polygon in polygons]


def outline_code(segmentation: Any, size: Size) -> dict[str, Any]:
    """Return the run-length code of the ``segmentation`` of an instance JSON, whatever its form.

    Args:
        segmentation: Polygons, or a run-length code with its counts compressed or as a list.
        size: Height and width of the photo.

    Raises:
        InvalidValueError: It is neither, has numbers that are not finite or are far outside the photo, or counts that
            are negative or do not add up to the photo's pixels.
    """
    if not isinstance(segmentation, Mapping):
        check_segmentation(segmentation, size)
        return mask_api.merge(mask_api.frPyObjects(_floats(segmentation), *size))
    counts = _counts(segmentation, size)
    if isinstance(segmentation['counts'], list):
        return mask_api.frPyObjects({'size': list(size), 'counts': counts.tolist()}, *size)
    return {'size': list(size), 'counts': segmentation['counts']}


def partial_code(segmentation: Any, size: Size) -> tuple[dict[str, Any], list[str]]:
    """Return the run-length code of what can be drawn of a ``segmentation``, and the faults of other outlines.

    Args:
        segmentation: See :func:`outline_code`.
        size: Height and width of the photo.

    Raises:
        InvalidValueError: Nothing of it can be drawn.
    """
    good, wrong = segmentation, []
    if isinstance(segmentation, list) and any(isinstance(part, list) for part in segmentation):
        good = []
        for part in segmentation:
            try:
                check_polygon(part, size)
                good.append(part)
            except InvalidValueError as error:
                wrong.append(str(error))
    return outline_code(good or segmentation, size), wrong


def _counts(code: Mapping[str, Any], size: Size) -> np.ndarray:
    """Return the lengths (r,) int64 of the runs of a code, which fill a photo of ``size`` exactly."""
    stated, counts = code.get('size'), code.get('counts')
    if not isinstance(stated, list) or len(stated) != 2:
        raise InvalidValueError(f'has a mask with the size {brief(stated)}, which has to be [height, width]')
    if (as_integer(stated[0]), as_integer(stated[1])) != tuple(size):
        raise InvalidValueError(f'has a mask of {stated[1]}x{stated[0]}, but its photo is {size[1]}x{size[0]}')
    if isinstance(counts, list):
        try:
            lengths = np.array([as_integer(count) for count in counts], dtype=np.int64)
        except InvalidValueError as error:
            raise InvalidValueError(f'has a mask with a count that {error}') from None
    elif isinstance(counts, str | bytes) and counts:
        lengths = _decompressed(counts)
    else:
        raise InvalidValueError(f'has a mask with the counts {brief(counts)}')
    pixels = size[0] * size[1]
    if ((lengths < 0) | (lengths > pixels)).any() or (total := int(lengths.sum())) != pixels:
        wrong = next((f'is {count}' for count in lengths.tolist() if not 0 <= count <= pixels), None)
        raise InvalidValueError(
            f'has a mask with a count that {wrong}, but its photo has {pixels} pixels'
            if wrong
            else f'has a mask whose counts add up to {total} pixels, but its photo of {size[1]}x{size[0]} has {pixels}'
        )
    return lengths


def _decompressed(text: str | bytes) -> np.ndarray:
    """Return the counts (r,) int64 of COCO's compressed form: 5 bits per character, from the third as differences."""
    try:
        data = text.encode('ascii') if isinstance(text, str) else text
    except UnicodeEncodeError:
        data = b''
    values = np.frombuffer(data, np.uint8).astype(np.int64) - 48
    if not values.size or values.min() < 0 or values.max() > 63 or values[-1] & 32:
        raise InvalidValueError(f'has a mask with the counts {brief(text)}, which are not a compressed code')
    last = np.flatnonzero(~values & 32)  # of each number
    first = np.concatenate(([0], last[:-1] + 1))
    if (last - first).max() > 10:
        raise InvalidValueError(f'has a mask with the counts {brief(text)}, which are not a compressed code')
    place = np.arange(values.size) - np.repeat(first, last - first + 1)
    numbers = np.add.reduceat((values & 31) << (5 * place), first)
    numbers -= np.where(values[last] & 16, 1 << (5 * (last - first + 1)), 0)
    counts = numbers.copy()
    counts[1::2] = np.cumsum(numbers[1::2])
    counts[2::2] = np.cumsum(numbers[2::2])
    return counts
