"""Semantic maps and outlines of objects, in the one form that all tasks read: a segment map and its table."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as mask_api

from ...annotations.outlines import outline_code
from ...annotations.values import InvalidValueError
from ...errors import UserError

__all__ = ['SemanticValues', 'instance_segments', 'semantic_segments']


class SemanticValues(NamedTuple):
    """What the values of semantic PNGs mean.

    Attributes:
        num_classes: How many classes there are; value k is class k.
        ignore_index: The value of void.
        reduce_zero_label: Value 0 is void too, and value k is class k - 1.
    """

    num_classes: int
    ignore_index: int = 255
    reduce_zero_label: bool = False


def semantic_segments(
    values: np.ndarray, meaning: SemanticValues, thing_ids: Collection[int], name: str
) -> tuple[np.ndarray, list[dict]]:
    """Segments of a semantic map: one for each class that is present, whether thing or stuff.

    Args:
        values: (H, W) int32 of the PNG.
        meaning: Of the values.
        thing_ids: Class indices of things.
        name: Of the PNG, for the error.

    Returns:
        Segment map (H, W) int32, 0 = void, k = entry k of the table, and the segment table.

    Raises:
        UserError: A value stands for no class.
    """
    present = np.flatnonzero(np.bincount(values.reshape(-1)))
    labels = present - meaning.reduce_zero_label
    known = (present != meaning.ignore_index) & (labels >= 0)
    wrong = known & (labels >= meaning.num_classes)
    if wrong.any():
        raise UserError(
            f'Semantic map {name} has pixels of value {present[wrong][0]}, but values go from '
            f'{int(meaning.reduce_zero_label)} to {meaning.num_classes - 1 + meaning.reduce_zero_label} for the '
            f'{meaning.num_classes} classes and {meaning.ignore_index} is void; complete metainfo.classes, or set '
            'ignore_index or reduce_zero_label.'
        )
    number_of = np.zeros(present.max() + 1, dtype=np.int32)
    number_of[present[known]] = np.arange(1, known.sum() + 1)
    table = [
        {'id': int(label) + 1, 'label': int(label), 'isthing': int(label) in thing_ids, 'iscrowd': False}
        for label in labels[known]
    ]
    return number_of[values], table


def instance_segments(
    outlines: Sequence[Mapping[str, Any]], size: tuple[int, int], name: str
) -> tuple[np.ndarray, list[dict]]:
    """Segments of objects whose outlines may overlap; what no object covers is void.

    Crowds lie below objects, and larger ones below smaller ones, so that the smaller one shows; of equal ones the later
    in the file is on top (the rules of ``to_panoptic.py``). An object that is hidden completely stays in the table
    without a pixel and is not a target.

    Args:
        outlines: Of each object ``id``, ``label``, ``iscrowd`` and ``segmentation``, in the order of the file.
        size: Height and width of the photo.
        name: Of the JSON, for the error.

    Returns:
        Segment map (H, W) int32, 0 = void, k = entry k of the table, and the segment table.

    Raises:
        UserError: An outline cannot be read or is of another size.
    """
    codes = []
    for entry in outlines:
        try:
            codes.append(outline_code(entry['segmentation'], size))
        except InvalidValueError as error:
            raise UserError(f'{name}: annotation {entry["id"]} {error}; draw its outline or take it out.') from error
    segment_map = np.zeros(size, dtype=np.int32)
    # `sorted` keeps the order of equals, so the later of two equal ones is painted later.
    for place in sorted(
        range(len(codes)), key=lambda place: (not outlines[place]['iscrowd'], -int(mask_api.area(codes[place])))
    ):
        segment_map[mask_api.decode(codes[place]).view(bool)] = place + 1
    table = [
        {'id': number, 'label': entry['label'], 'isthing': True, 'iscrowd': entry['iscrowd']}
        for number, entry in enumerate(outlines, start=1)
    ]
    return segment_map, table
