"""Comparison of the categories of a file with the classes of a config."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from ..annotations.coco import Category
from ..errors import UserError
from ..visualization.colors import class_colors

__all__ = ['category_faults', 'checked_metainfo']


def checked_metainfo(metainfo: Mapping[str, Any], categories: Sequence[Category], source: str) -> dict:
    """Return a config's metainfo after comparing it with the categories of a JSON, or metainfo made from them.

    Args:
        metainfo: ``classes``, ``thing_ids`` and ``palette``, as far as the config states them.
        categories: Categories of the JSON, sorted by id, each with ``isthing``.
        source: The JSON, for the error.

    Raises:
        UserError: The categories are not those that the config states.
    """
    names = tuple(category['name'] for category in categories)
    things = tuple(label for label, category in enumerate(categories) if category['isthing'])
    meta = dict(metainfo)
    if 'classes' not in meta:
        meta.update(classes=names, thing_ids=things)
    if 'thing_ids' not in meta:
        raise UserError('metainfo has classes but no thing_ids; add the class indices of the things as a tuple.')
    meta['classes'] = tuple(meta['classes'])
    meta['thing_ids'] = tuple(sorted(int(label) for label in meta['thing_ids']))
    colors = [category.get('color') for category in categories]
    generated = class_colors(len(meta['classes']))
    palette = meta.get('palette') or [color or other for color, other in zip(colors, generated)]
    meta['palette'] = [tuple(color) for color in palette]

    for _, sentence in category_faults(categories, meta['classes'], meta['thing_ids']):
        raise UserError(
            f'{source}: {sentence}; state classes and thing_ids as in the JSON (sorted by category id), '
            'or leave metainfo out.'
        )
    return meta


def category_faults(
    categories: Sequence[Category], classes: Sequence[str] | None, thing_ids: Collection[int] | None
) -> Iterator[tuple[str, str]]:
    """Yield (rule, sentence without a full stop) for each category that is not as a config expects.

    Args:
        categories: Sorted by id, each with ``isthing``: class k is the k-th.
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
