"""COCO's two annotations: which instances of the instance JSON are no segment of their own in the panoptic one.

Panoptic segments do not overlap and instance masks do, so the panoptic annotation was not made by copying: some
instances were merged, left out or cut in pieces. The paper measures AP against both (appendix F).

What became of an instance, the first that holds:

* merged: at least half of it lies in one segment of its class that also holds half of another instance, or that is a
  crowd;
* split: at least two segments of its class are parts of it. A part lies to more than half in the instance, overlaps no
  other instance more, and covers at least a tenth of it;
* a segment of its own: a segment of its class overlaps it with an IoU above 0.5;
* skipped: none of these.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as mask_api

from ...annotations.coco import Image
from ...annotations.coco_instances import Object, outline_faults, read_instances
from ...annotations.faults import raise_faults
from ...annotations.outlines import outline_code
from ...annotations.values import InvalidValueError
from ...errors import UserError
from .rules import Finding
from .structure import Item
from .tables import Segment

__all__ = ['Comparison', 'Instances', 'compare_instances', 'comparison_finding', 'instances_by_image']

HALF = 0.5
"""Above this IoU a segment is an instance's; from this share on a region lies in another."""
TENTH = 0.1
"""Of an instance: less is debris, and no part."""


class Instances(NamedTuple):
    """The instance JSON, by image."""

    by_image: Mapping[int | str, Sequence[Object]]
    names: Mapping[int, str]
    """Class names by category id."""


class Comparison(NamedTuple):
    """An instance that is not a segment of its own."""

    image_id: Any
    instance_id: Any
    category: str
    fate: str
    """'merged', 'split' or 'skipped'."""
    segment_ids: tuple[int, ...]
    """The segment it lies in, or its parts; none if it was skipped."""
    iou: float
    """With the best segment of its class, 0-1."""
    covered: float
    """Share of it, 0-1, that segments of its class cover."""
    with_instances: tuple[Any, ...]
    """Other instances in the same segment."""


class _Overlap(NamedTuple):
    """Instances (I) against segments (S) of an image; 0 where the classes differ."""

    of_instance: np.ndarray
    """(I, S) share of the instance."""
    of_segment: np.ndarray
    """(I, S) share of the segment."""
    iou: np.ndarray
    """(I, S)"""


def instances_by_image(path: str | Path, class_names: Sequence[str]) -> Instances:
    """Read an instance JSON in COCO's format.

    Args:
        path: The JSON.
        class_names: Of the panoptic JSON; classes are told apart by name.

    Raises:
        FileNotFoundError: It does not exist.
        UserError: It is no instance JSON, has faults, or has no class in common with the panoptic one.
    """
    file = read_instances(path)
    raise_faults(path, [*file.faults, *outline_faults(file)])
    names = {category['id']: category['name'] for category in file.categories}
    if not set(names.values()) & set(class_names):
        raise UserError(f'{path} has no class of the panoptic JSON; --against needs the same class names.')
    return Instances(file.objects, names)


def compare_instances(
    item: Item, segments: Sequence[Segment], ids: np.ndarray, pixels: Mapping[int, int], instances: Instances
) -> list[Comparison]:
    """Find the instances of one image that are no segment of their own.

    Args:
        item: The image.
        segments: Its segment table.
        ids: (H, W) its map.
        pixels: Of each id in the map.
        instances: The other annotation. Its crowds are left out: they are no instances.

    Raises:
        UserError: A mask has another size than the map.
    """
    entries = [entry for entry in instances.by_image.get(item.image['id'], ()) if not entry['iscrowd']]
    things = [segment for segment in segments if segment.isthing]
    if not entries:
        return []
    names = [instances.names.get(entry['category_id'], '') for entry in entries]
    masks = [_mask(entry, item.image, ids.shape) for entry in entries]
    overlap = _overlap([ids[mask] for mask in masks], names, things, pixels)
    found = []
    for index, (entry, name) in enumerate(zip(entries, names)):
        fate, places = _fate(index, things, overlap)
        if fate is None:
            continue
        shared = (overlap.of_instance[:, places] >= HALF).any(axis=1) if fate == 'merged' else np.zeros(len(entries))
        found.append(
            Comparison(
                image_id=item.image['id'],
                instance_id=entry['id'],
                category=name,
                fate=fate,
                segment_ids=tuple(things[place].id for place in places),
                iou=round(float(overlap.iou[index].max(initial=0)), 4),
                covered=round(float(overlap.of_instance[index].sum()), 4),
                with_instances=tuple(entries[other]['id'] for other in np.flatnonzero(shared) if other != index),
            )
        )
    return found


def comparison_finding(comparison: Comparison, item: Item) -> Finding:
    """One line for the table."""
    where = f'instance {comparison.instance_id} ({comparison.category})'
    parts = ', '.join(map(str, comparison.segment_ids))
    others = ', '.join(map(str, comparison.with_instances))
    numbers = f'IoU {comparison.iou:.2f}, {100 * comparison.covered:.0f} % covered'
    what = {
        'merged': f'lies in segment {parts} with {f"instance {others}" if others else "a crowd"}',
        'split': f'is segments {parts}',
        'skipped': 'has no segment',
    }[comparison.fate]
    text = f'{where} {what}; {numbers}'
    return Finding(f'instance-{comparison.fate}', text, item.image['id'], item.image['file_name'])


def _overlap(
    insides: Sequence[np.ndarray], names: Sequence[str], things: Sequence[Segment], pixels: Mapping[int, int]
) -> _Overlap:
    """Count common pixels; ``insides`` are the ids of the map inside of each instance."""
    common = np.zeros((len(insides), len(things)))
    place_of = {thing.id: place for place, thing in enumerate(things)}
    for row, (inside, name) in enumerate(zip(insides, names)):
        for number, count in zip(*np.unique(inside, return_counts=True)):
            place = place_of.get(int(number))
            if place is not None and things[place].name == name:
                common[row, place] = count
    instance_areas = np.array([[max(inside.size, 1)] for inside in insides])
    segment_areas = np.array([[pixels.get(thing.id, 1) for thing in things]])
    union = instance_areas + segment_areas - common
    return _Overlap(common / instance_areas, common / segment_areas, common / union)


def _mask(entry: Object, image: Image, size: tuple[int, int]) -> np.ndarray:
    """Return the mask (H, W) bool of an instance."""
    try:
        return mask_api.decode(outline_code(entry['segmentation'], size)).view(bool)
    except InvalidValueError as error:
        raise UserError(
            f'Instance {entry["id"]} of {image["file_name"]} {error}; --against needs the instances of the same photos.'
        ) from error


def _fate(index: int, things: Sequence[Segment], overlap: _Overlap) -> tuple[str | None, list[int]]:
    """What became of an instance, None for a segment of its own, and the places of its segments."""
    for place in np.flatnonzero(overlap.of_instance[index] >= HALF).tolist():
        if things[place].iscrowd or np.count_nonzero(overlap.of_instance[:, place] >= HALF) > 1:
            return 'merged', [place]
    nearest = overlap.iou.argmax(axis=0)
    inside = (overlap.of_segment[index] > HALF) & (overlap.of_instance[index] >= TENTH)
    parts = np.flatnonzero(inside & (nearest == index))
    if len(parts) > 1:
        return 'split', parts.tolist()
    return (None, []) if overlap.iou[index].max(initial=0) > HALF else ('skipped', [])
