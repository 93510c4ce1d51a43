"""Writing panoptic files: ids, PNGs, entries of the JSON."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import cv2
import numpy as np
import scipy  # its `ndimage` is imported when it is first used

from ..errors import UserError
from ..files import write_atomic
from .parallel import write_if_changed

__all__ = ['SegmentIds', 'boxes', 'encode_labels', 'panoptic_json', 'write_id_map', 'write_json']

STEPS = ((37, 61), (23, 59), (11, 53))
"""Step and period of each channel's walk around a class colour. Prime periods: 190 747 colours before one repeats."""


class SegmentIds:
    """Assigns the ids of an image's segments so that the PNG, viewed as a picture, shows the classes' colours.

    The first segment of a class has its colour, read as R + 256 G + 65536 B; further ones have colours near it, always
    the same ones in the same order. The public preparations choose them at random instead, so their ids differ from run
    to run; nothing depends on the ids.
    """

    def __init__(self, palette: Sequence[Sequence[int]]) -> None:
        self.palette = palette
        self.taken = {0}
        self.attempts: dict[int, int] = {}

    def next(self, label: int) -> int:
        """Return a new id, unique in the image, for a segment of class ``label``.

        Raises:
            UserError: The image has more segments of a class than there are colours near its own.
        """
        for attempt in range(self.attempts.get(label, 0), int(np.prod([period for _, period in STEPS]))):
            color = [
                min(max(channel + (step * attempt + period // 2) % period - period // 2, 0), 255)
                for channel, (step, period) in zip(self.palette[label], STEPS)
            ]
            number = color[0] + 256 * color[1] + 65536 * color[2]
            if number not in self.taken:
                self.taken.add(number)
                self.attempts[label] = attempt + 1
                return number
        raise UserError(f'An image has more than {len(self.taken) - 1} segments; split it into tiles.')


def panoptic_json(pictures: Sequence[Mapping[str, Any]], png: str, categories: Sequence[Mapping[str, Any]]) -> dict:
    """Return the content of a panoptic JSON.

    Args:
        pictures: ``image`` and ``segments`` of each, both as in the JSON.
        png: Pattern of the names of the PNGs; ``{id}`` stands for the image's id, ``{stem}`` for its path without
            suffix.
        categories: As in the JSON.
    """
    annotations = []
    for picture in pictures:
        image = picture['image']
        file_name = png.format(id=image['id'], stem=PurePath(image['file_name']).with_suffix('').as_posix())
        annotations.append({'image_id': image['id'], 'file_name': file_name, 'segments_info': picture['segments']})
    return {'images': [picture['image'] for picture in pictures], 'annotations': annotations, 'categories': categories}


def boxes(index_map: np.ndarray, count: int) -> list[list[int] | None]:
    """Return the boxes [left, top, width, height] of segments 1..count of a map (H, W); None for one without pixels."""
    slices = scipy.ndimage.find_objects(index_map, max_label=count)
    return [
        where
        and [
            where[1].start,
            where[0].start,
            where[1].stop - where[1].start,
            where[0].stop - where[0].start,
        ]
        for where in slices
    ]


def write_id_map(path: str | Path, id_map: np.ndarray) -> None:
    """Write ids (H, W), 0 = void, as an RGB PNG with id = R + 256 G + 65536 B."""
    bgr = np.stack([id_map >> 16, id_map >> 8 & 255, id_map & 255], axis=-1).astype(np.uint8)
    write_if_changed(path, encode_labels(bgr))


def encode_labels(array: np.ndarray) -> bytes:
    """Return the PNG of an array (H, W) or (H, W, 3; blue first), uint8."""
    return cv2.imencode('.png', np.ascontiguousarray(array))[1].tobytes()


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a JSON atomically, unless it already exists with the same content."""
    text = json.dumps(content, separators=(',', ':')).encode()
    path = Path(path)
    if not path.is_file() or path.read_bytes() != text:
        write_atomic(path, text)
