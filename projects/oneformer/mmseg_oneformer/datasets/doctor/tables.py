"""Segment tables: each entry by itself, and the entries of one image together."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ...annotations.coco_panoptic import Segment as Entry
from ...annotations.coco_panoptic import stated_area, stated_box
from ...annotations.values import InvalidValueError
from .rules import Finding

__all__ = ['Classes', 'Segment', 'check_table', 'read_table']


class Classes(NamedTuple):
    """The categories of a JSON that could be read, in the order of their ids."""

    label_of: Mapping[int, int]
    """Class index by category id."""
    names: Sequence[str]
    things: frozenset[int]


class Segment(NamedTuple):
    """One readable entry of a segment table."""

    id: int
    label: int
    name: str
    isthing: bool
    iscrowd: bool
    area: float | None
    """As the JSON states it, in pixels."""
    box: tuple[float, ...] | None
    """As the JSON states it: left, top, width, height."""


def read_table(table: Sequence[Entry], classes: Classes) -> list[Segment]:
    """Return the entries of ``segments_info`` that have a known category."""
    return [
        Segment(
            id=entry['id'],
            label=classes.label_of[entry['category_id']],
            name=classes.names[classes.label_of[entry['category_id']]],
            isthing=classes.label_of[entry['category_id']] in classes.things,
            iscrowd=entry['iscrowd'],
            area=_stated(stated_area, entry),
            box=_stated(stated_box, entry),
        )
        for entry in table
        if entry['category_id'] in classes.label_of
    ]


def _stated(read: Callable[[Entry], Any], entry: Entry) -> Any:
    try:
        return read(entry)
    except InvalidValueError:
        return None


def check_table(table: Sequence[Entry], segments: Sequence[Segment], classes: Classes) -> Iterator[Finding]:
    """Yield what is odd about a segment table; findings lack image and file.

    Args:
        table: ``segments_info``.
        segments: What ``read_table`` made of it.
        classes: Of the JSON.
    """
    by_id = {segment.id: segment for segment in segments}
    for entry in table:
        segment = by_id.get(entry['id']) if 'isthing' in entry else None
        if segment is not None and entry['isthing'] != segment.isthing:
            says, means = ('thing', 'stuff') if entry['isthing'] else ('stuff', 'thing')
            text = f'segment {segment.id} says {says}, its category {segment.name} is {means}'
            yield Finding('segment-kind', text, segment_id=segment.id)
        for rule, key, read in (('area-drift', 'area', stated_area), ('box-drift', 'bbox', stated_box)):
            try:
                read(entry)
            except InvalidValueError as error:
                yield Finding(rule, f'segment {entry["id"]} has "{key}" that {error}', segment_id=entry['id'])
    if not table:
        yield Finding('image-empty', 'it has no segment')
    elif not any(segment.isthing and not segment.iscrowd for segment in segments):
        yield Finding('image-without-things', 'stuff or crowds only')
    stuff = Counter(segment.label for segment in segments if not segment.isthing and not segment.iscrowd)
    for label, count in stuff.items():
        if count > 1:
            yield Finding('stuff-twice', f'{count} segments of {classes.names[label]}')
    for segment in segments:
        if segment.iscrowd:
            rule = 'crowd' if segment.isthing else 'stuff-crowd'
            yield Finding(rule, f'segment {segment.id} ({segment.name})', segment_id=segment.id)
