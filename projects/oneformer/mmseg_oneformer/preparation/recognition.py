"""Which annotations a folder holds, and the command that converts them to panoptic files."""

import shlex
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from ..annotations.values import InvalidValueError, as_file_name
from ..errors import UserError
from ..files import read_json

__all__ = ['conversion_command']

TOOL = 'tools/dataset_converters/to_panoptic.py'
READ = 200
"""Number of labelme files that are read for their labels: all of a large folder would take a minute."""


def conversion_command(data: Path) -> str | None:
    """Return the command of ``to_panoptic.py`` for own annotations, or None if their format is unknown.

    Args:
        data: The folder of a data set, or a JSON of annotations.
    """
    recognised = _recognise(data)
    if recognised is None:
        return None
    arguments, photos = recognised
    folder = data if data.is_dir() else data.parent
    out = folder if folder.name == 'annotations' else folder / 'annotations'
    if out in arguments:  # The output would be read together with labelme's files.
        out = folder if out != folder else folder.parent
    return shlex.join(['python', TOOL, *map(str, arguments), '--images', str(photos or 'PHOTOS'), '--out', str(out)])


def _recognise(data: Path) -> tuple[list[str | Path], Path | None] | None:
    """Return the format with its own arguments, and the folder of the photos if it is known."""
    if not data.is_dir():
        return _recognise_json(data, [data]) if data.is_file() else None
    places = [data, *(data / name for name in ('annotations', 'labels', 'train', 'labels/train'))]
    for place in places:
        if (place / 'SegmentationObject').is_dir():
            return ['voc', place], place / 'JPEGImages'
        jsons = sorted(place.glob('*.json'))
        if jsons and (recognised := _recognise_json(jsons[0], jsons)):
            return recognised
    for place in places:
        if place.name != 'annotations' and any(place.glob('*.txt')):
            return ['yolo', place, '--names', data / 'data.yaml'], _first_folder(data, ('images/train', 'images'))
    return None


def _recognise_json(path: Path, siblings: Iterable[Path]) -> tuple[list[str | Path], Path | None] | None:
    content = _read(path)
    if {'images', 'annotations', 'categories'} <= content.keys():
        if not any('segmentation' in annotation for annotation in _entries(content, 'annotations')[:1]):
            return None  # panoptic, only boxes, or nothing at all
        names = [name for name in (_file_name(image) for image in _entries(content, 'images')[:1]) if name]
        roots = [path.parent, path.parent.parent]
        folders = [
            root / sub for root in roots for sub in ('', 'images', 'photos', 'train', 'train2017', 'images/train')
        ]
        photos = next((folder for folder in folders if names and _is_file(folder / names[0])), None)
        return ['coco', path], photos
    if {'shapes', 'imagePath'} <= content.keys():
        shapes = (shape for one in islice(siblings, READ) for shape in _entries(_read(one), 'shapes'))
        labels = sorted({str(shape['label']) for shape in shapes if 'label' in shape})
        photo = path.parent / str(content['imagePath']).replace('\\', '/')
        return ['labelme', path.parent, '--things', *labels], photo.parent if _is_file(photo) else None
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except (UserError, OSError):  # some other file
        return {}
    return content if isinstance(content, dict) else {}


def _entries(content: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the entries of a list that are objects; the converter will report the others."""
    entries = content.get(key)
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _file_name(image: Mapping[str, Any]) -> str | None:
    try:
        return as_file_name(image.get('file_name'))
    except InvalidValueError:
        return None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # Text that cannot be a file name.
        return False


def _first_folder(root: Path, names: Iterable[str]) -> Path | None:
    return next((root / name for name in names if (root / name).is_dir()), None)
