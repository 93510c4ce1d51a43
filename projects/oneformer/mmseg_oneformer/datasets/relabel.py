"""From the classes of one list to those of another, by name."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import UserError

__all__ = ['VOID', 'label_map', 'relabelled']

VOID = -1


def label_map(
    own: Sequence[str],
    own_things: Collection[int] | None,
    classes: Sequence[str],
    thing_ids: Collection[int],
    aliases: Mapping[str, str | None],
    source: str,
) -> tuple[int, ...]:
    """Return the class index in ``classes`` of every class of a source; ``VOID`` for those that are left out.

    Args:
        own: Names of the source's classes.
        own_things: Its things; None if its annotation does not distinguish them from stuff.
        classes: Names of the other list; a source may have fewer.
        thing_ids: Things of the other list.
        aliases: Names in ``classes`` of classes that the source names differently; None: left out.
        source: Name of the source, for the error.

    Raises:
        UserError: A name is not in ``classes``, or a thing in one list is stuff in the other.
    """
    labels = []
    for label, name in enumerate(own):
        target = aliases.get(name, name)
        if target is None:
            labels.append(VOID)
            continue
        if target not in classes:
            raise UserError(
                f'{source} has class {target!r}, which is not in metainfo.classes of the mix; add it there, or name '
                f'it in aliases: {name!r}: None makes it void, {name!r}: "other name" joins it with another class.'
            )
        labels.append(list(classes).index(target))
        if own_things is not None and (label in own_things) != (labels[-1] in thing_ids):
            kinds = ('a thing', 'stuff') if label in own_things else ('stuff', 'a thing')
            raise UserError(
                f'class {name!r} is {kinds[0]} in {source} and {kinds[1]} in the mix; correct metainfo.thing_ids, or '
                f'leave the class out with aliases: {name!r}: None.'
            )
    return tuple(labels)


def relabelled(
    segment_map: np.ndarray,
    segments_info: Sequence[Mapping[str, Any]],
    label_of: Sequence[int],
    thing_ids: Collection[int],
) -> tuple[np.ndarray, list[dict]]:
    """Return a segment map and its table in the classes of another list.

    Segments of classes that are left out become void. If several classes of the source become the same stuff class,
    they become one segment, as stuff always is.

    Args:
        segment_map: (H, W) integers, 0 = void, k = ``segments_info[k - 1]``.
        segments_info: The segment table.
        label_of: New class index of each class, or ``VOID``.
        thing_ids: Things among the new classes.
    """
    number_of = np.zeros(len(segments_info) + 1, dtype=np.int32)
    table: list[dict] = []
    stuff: dict[int, int] = {}
    for number, segment in enumerate(segments_info, start=1):
        label = label_of[segment['label']]
        if label == VOID:
            continue
        joins = label not in thing_ids and not segment['iscrowd']
        if joins and label in stuff:
            number_of[number] = stuff[label]
            continue
        table.append({**segment, 'label': label, 'isthing': label in thing_ids})
        number_of[number] = len(table)
        if joins:
            stuff[label] = len(table)
    return number_of[segment_map], table
