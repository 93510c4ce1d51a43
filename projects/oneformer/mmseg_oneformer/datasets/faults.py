"""What may be wrong in a panoptic JSON, rule by rule: the loader stops at the first fault, the doctor lists all."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ['MAX_ID', 'SegmentFault', 'category_faults', 'segment_faults']

MAX_ID = 2**24 - 1
"""Largest id that R + 256 G + 65536 B can hold."""


class SegmentFault(NamedTuple):
    """A fault of one entry of a segment table."""

    rule: str
    """Name of the doctor's rule."""
    segment_id: Any
    """As the entry gives it; None where it gives none."""
    what: str
    """What is wrong, to be read behind "segment <id>"."""
    remedy: str


def category_faults(
    categories: Sequence[Mapping[str, Any]], classes: Sequence[str] | None, thing_ids: Collection[int] | None
) -> Iterator[tuple[str, str]]:
    """Yield (rule, sentence without a full stop) wherever the categories are not what a config expects.

    Args:
        categories: Entries with ``id``, ``name`` and ``isthing``, sorted by id: class k is the k-th.
        classes: Names the config expects; None: any.
        thing_ids: Class indices of things the config expects; None: any.
    """
    names = [category['name'] for category in categories]
    if classes is not None:
        for label, (ours, theirs) in enumerate(zip(classes, names)):
            if ours != theirs:
                number = categories[label]['id']
                yield (
                    'class-mismatch',
                    f'category {number} is {theirs!r} where the config has {ours!r} as class {label}',
                )
        if len(classes) != len(names):
            yield 'class-mismatch', f'it has {len(names)} categories, the config {len(classes)} classes'
    if thing_ids is not None:
        things = {label for label, category in enumerate(categories) if category['isthing']}
        for label in sorted(things ^ set(thing_ids)):
            name = repr(names[label]) if 0 <= label < len(names) else 'no class'
            kind = 'a thing' if label in things else 'no thing'
            yield 'kind-mismatch', f'class {label} ({name}) is {kind} there, unlike in thing_ids of the config'


def segment_faults(table: Sequence[Any], known: Collection[Any]) -> Iterator[SegmentFault]:
    """Yield what is wrong with the entries of a segment table.

    Args:
        table: ``segments_info`` of an annotation.
        known: Ids of the categories.
    """
    seen = set()
    for segment in table:
        try:
            number, category = int(segment['id']), segment['category_id']
            unknown = category not in known
        except (KeyError, TypeError, ValueError):
            given = segment.get('id') if isinstance(segment, Mapping) else None
            yield SegmentFault('entry-incomplete', given, 'lacks "id" or "category_id"', 'write both, as numbers')
            continue
        remedy = 'give every segment of an image its own id from 1 up'
        if unknown:
            what = f'has category {category}, which "categories" does not list'
            yield SegmentFault('unknown-category', number, what, 'add it there')
        if number == 0:
            yield SegmentFault('segment-id-invalid', number, 'has the id of void', remedy)
        elif not 0 < number <= MAX_ID:
            yield SegmentFault('segment-id-invalid', number, f'has an id outside of 1 to {MAX_ID}', remedy)
        if number in seen:
            yield SegmentFault('segment-id-twice', number, 'appears twice', remedy)
        seen.add(number)
