"""Segment tables: each entry by itself, and the entries of one image together."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..faults import MAX_ID, segment_faults
from .rules import Finding

__all__ = ['Classes', 'Segment', 'check_table', 'is_box', 'listed_ids', 'read_table']


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


def read_table(table: Sequence[Any], classes: Classes) -> list[Segment]:
    """The entries of ``segments_info`` that have an id of their own and a known category."""
    segments: dict[int, Segment] = {}
    for entry in table:
        try:
            number, label = int(entry['id']), classes.label_of[entry['category_id']]
        except (KeyError, TypeError, ValueError):
            continue
        if not 0 < number <= MAX_ID or number in segments:
            continue
        area, box = entry.get('area'), entry.get('bbox')
        segments[number] = Segment(
            id=number,
            label=label,
            name=classes.names[label],
            isthing=label in classes.things,
            iscrowd=bool(entry.get('iscrowd', False)),
            area=area if isinstance(area, int | float) else None,
            box=tuple(box) if is_box(box) else None,
        )
    return list(segments.values())


def listed_ids(table: Sequence[Any]) -> list[int]:
    """The ids that pixels may have: those of ``segments_info``, of entries with an unknown category too."""
    return [entry['id'] for entry in table if isinstance(entry, Mapping) and isinstance(entry.get('id'), int)]


def is_box(box: Any) -> bool:
    """Whether a ``bbox`` is four numbers."""
    return isinstance(box, list) and len(box) == 4 and all(isinstance(edge, int | float) for edge in box)


def check_table(table: Sequence[Any], segments: Sequence[Segment], classes: Classes) -> Iterator[Finding]:
    """Yield what is wrong with a segment table; findings lack image and file.

    Args:
        table: ``segments_info`` as it stands in the JSON.
        segments: What ``read_table`` made of it.
        classes: Of the JSON.
    """
    for fault in segment_faults(table, classes.label_of):
        yield Finding(fault.rule, f'segment {fault.segment_id} {fault.what}', segment_id=fault.segment_id)
    by_id = {segment.id: segment for segment in segments}
    for entry in table:
        segment = by_id.get(entry['id']) if isinstance(entry, Mapping) and 'isthing' in entry else None
        if segment is not None and bool(entry['isthing']) != segment.isthing:
            says, means = ('thing', 'stuff') if entry['isthing'] else ('stuff', 'thing')
            text = f'segment {segment.id} says {says}, its category {segment.name} is {means}'
            yield Finding('segment-kind', text, segment_id=segment.id)
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
