"""Conversion of one photo's annotation as drawn, with overlaps, to segments that do not overlap.

The rules, from bottom to top:

1. The semantic map. Its pixels of a thing class that no object covers become one crowd of that class: the class is
   known, the number of objects is not.
2. Drawn regions of stuff, larger ones first. All regions of one stuff class are one segment.
3. Crowds, larger ones first; they stay crowds.
4. Objects, larger ones first, so that a smaller one lies on a larger one. Of objects of equal size the later one in the
   file is on top.

Pixels that nothing covers are void, or the class that was chosen for the rest. Void values of the semantic map and
regions of ignored classes are void, not rest. A region of which nothing is left is dropped and counted.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as mask_api

from ..annotations.values import InvalidValueError
from .classes import VOID, Classes
from .panoptic import SegmentIds, boxes

__all__ = ['Annotation', 'Region', 'check_area', 'segment_annotation']


class Region(NamedTuple):
    """An object, a crowd or a patch of stuff: class index, COCO run-length code, whether it is a crowd.

    ``VOID`` is the class index of a region of an ignored class.
    """

    label: int
    code: dict[str, Any]
    iscrowd: bool = False


class Annotation(NamedTuple):
    """The annotation of a photo.

    Attributes:
        size: Height and width.
        regions: Regions, which may overlap.
        semantic: (H, W) class index of each pixel, ``VOID`` for none; None if there is no such map.
        broken: A sentence on each object, or part of one, that cannot be drawn and is left out.
    """

    size: tuple[int, int]
    regions: list[Region]
    semantic: np.ndarray | None = None
    broken: Sequence[str] = ()


def check_area(code: dict[str, Any]) -> dict[str, Any]:
    """Return a run-length code after checking that it covers at least one pixel.

    Raises:
        InvalidValueError: It covers none.
    """
    if not mask_api.area(code):
        raise InvalidValueError('covers no pixel of the photo')
    return code


def segment_annotation(
    annotation: Annotation, classes: Classes, palette: Sequence[Sequence[int]]
) -> tuple[np.ndarray, list[dict], int]:
    """Apply the rules of this module.

    Returns:
        Ids (H, W) int32 with 0 = void; the segments' entries for the JSON; how many regions were hidden completely.
    """
    index_map, kinds = _from_semantic(annotation, classes)
    first_drawn = len(kinds) + 1
    stuff_index = {label: index for index, (label, _) in enumerate(kinds, start=1) if not classes.is_thing(label)}

    def height(region: Region) -> tuple[int, int]:
        layer = 0 if not classes.is_thing(region.label) else 1 if region.iscrowd else 2
        return layer, -int(mask_api.area(region.code))

    # `sorted` is stable, so the later of two equally large ones is painted later.
    for region in sorted((region for region in annotation.regions if region.label != VOID), key=height):
        index = stuff_index.get(region.label)
        if index is None:
            kinds.append((region.label, region.iscrowd and classes.is_thing(region.label)))
            index = len(kinds)
            if not classes.is_thing(region.label):
                stuff_index[region.label] = index
        index_map[mask_api.decode(region.code).view(bool)] = index
    if classes.rest != VOID:
        uncovered = (index_map == 0) & ~_ignored(annotation)
        if uncovered.any():
            index = stuff_index.get(classes.rest)
            if index is None:
                kinds.append((classes.rest, False))
                index = len(kinds)
            index_map[uncovered] = index

    areas = np.bincount(index_map.reshape(-1), minlength=len(kinds) + 1)[1:]
    ids = SegmentIds(palette)
    table = np.zeros(len(kinds) + 1, dtype=np.int32)
    segments = []
    for index, ((label, iscrowd), box) in enumerate(zip(kinds, boxes(index_map, len(kinds))), start=1):
        if box is not None:
            table[index] = ids.next(label)
            segments.append(
                {
                    'id': int(table[index]),
                    'category_id': label + 1,
                    'area': int(areas[index - 1]),
                    'bbox': box,
                    'iscrowd': int(iscrowd),
                }
            )
    # A class of the semantic map that objects cover is not a region: nothing that was drawn is lost.
    return table[index_map], segments, int((table[first_drawn:] == 0).sum())


def _ignored(annotation: Annotation) -> np.ndarray:
    """Return where (H, W) bool a photo is annotated as void."""
    ignored = np.zeros(annotation.size, bool) if annotation.semantic is None else annotation.semantic == VOID
    for region in annotation.regions:
        if region.label == VOID:
            ignored |= mask_api.decode(region.code).view(bool)
    return ignored


def _from_semantic(annotation: Annotation, classes: Classes) -> tuple[np.ndarray, list[tuple[int, bool]]]:
    """Return a map (H, W) int32 of segment numbers from 1; for each segment, its class and whether it is a crowd."""
    if annotation.semantic is None:
        return np.zeros(annotation.size, dtype=np.int32), []
    shifted = annotation.semantic + 1
    present = np.flatnonzero(np.bincount(shifted.reshape(-1), minlength=len(classes.names) + 1)[1:])
    position = np.zeros(len(classes.names) + 1, dtype=np.int32)
    position[present + 1] = np.arange(1, len(present) + 1)
    return position[shifted], [(int(label), classes.is_thing(int(label))) for label in present]
