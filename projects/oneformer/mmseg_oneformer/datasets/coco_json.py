"""What COCO's panoptic and instance JSONs have in common: how they are read, and their categories."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import MissingFileError, UserError
from ..files import read_json
from ..visualization.colors import class_colors
from .faults import category_faults

__all__ = ['checked_metainfo', 'read_coco_json']


def read_coco_json(path: str | Path, kind: str) -> dict:
    """The content of a JSON with "images" and "categories".

    Args:
        path: Of the file.
        kind: 'panoptic' or 'instance', for the error.

    Raises:
        FileNotFoundError: If there is no such file.
        UserError: If it is no such JSON.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f'Annotation file {path} does not exist; put it there or set data_root and ann_file.')
    content = read_json(path)
    if not isinstance(content, dict) or not {'images', 'categories'} <= content.keys():
        raise UserError(f'{path} is not a COCO {kind} JSON: it needs "images", "annotations" and "categories".')
    return content


def checked_metainfo(metainfo: Mapping[str, Any], categories: Sequence[Mapping[str, Any]], source: str) -> dict:
    """A config's metainfo after comparison with the categories of a JSON, or the one made from them.

    Args:
        metainfo: ``classes``, ``thing_ids`` and ``palette``, as far as the config states them.
        categories: Entries of the JSON, sorted by id.
        source: The JSON, for the error.

    Raises:
        UserError: A category is incomplete or its id appears twice, or they are not what the config states.
    """
    for category in categories:
        if not {'id', 'name', 'isthing'} <= category.keys():
            raise UserError(f'{source}: category {dict(category)} needs "id", "name" and "isthing".')
    if len({category['id'] for category in categories}) != len(categories):
        raise UserError(f'{source} gives one category id twice; ids must be unique.')
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
