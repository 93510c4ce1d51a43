"""Photos without annotations as a panoptic JSON."""

from pathlib import Path
from typing import Any

from ..errors import MissingFileError, UserError
from ..files import read_json
from ..photos.header import photo_size
from ..photos.suffixes import photos_below

__all__ = ['image_list']


def image_list(source: Path, categories: Path) -> dict[str, Any]:
    """Return ``images`` and ``categories`` of a panoptic JSON without annotations.

    Args:
        source: A JSON, whose ``images`` are copied, or a folder, whose photos get their paths in it as file names
            and their names without suffix as ids; Cityscapes' without "_leftImg8bit", as in its own JSON.
        categories: A panoptic JSON of the data set.

    Raises:
        FileNotFoundError: One of them does not exist.
        UserError: There are no photos or no panoptic categories, or two photos have the same name.
    """
    for path in (source, categories):
        if not path.exists():
            raise MissingFileError(f'There is nothing at {path}; check the path.')
    entries = _list_of(categories, 'categories')
    if not entries or not all({'id', 'name', 'isthing'} <= entry.keys() for entry in entries):
        raise UserError(f'{categories} has no categories with "isthing"; give a panoptic JSON.')
    images = _of_folder(source) if source.is_dir() else _list_of(source, 'images')
    if not images:
        raise UserError(f'{source} has no photos; give a folder of photos or a JSON with "images".')
    return {'images': images, 'categories': entries}


def _list_of(path: Path, key: str) -> list[dict[str, Any]]:
    """Return the entries of a list in a JSON, or none if there is no such list."""
    content = read_json(path)
    entries = content.get(key) if isinstance(content, dict) else None
    if entries is not None and not (isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)):
        raise UserError(f'{path}: "{key}" is not a list of entries; give a JSON in COCO\'s form.')
    return entries or []


def _of_folder(folder: Path) -> list[dict[str, Any]]:
    paths: dict[str, Path] = {}
    for path in photos_below(folder):
        name = path.stem.removesuffix('_leftImg8bit')
        if name in paths:
            raise UserError(f'{paths[name]} and {path} have the same name; rename one of them.')
        paths[name] = path
    images = []
    for name, path in paths.items():
        height, width = photo_size(path)
        file_name = path.relative_to(folder).as_posix()
        images.append({'id': name, 'file_name': file_name, 'width': width, 'height': height})
    return images
