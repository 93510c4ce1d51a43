"""What COCO's panoptic and instance JSONs have in common: the file, its images and its categories.

Decisions:
* Entries keep the form of the JSON, as typed dicts, and are normalised in place: a second representation of a million
  segments would cost seconds and gigabytes, and subclasses of data sets read entries by the well-known field names.
* The checks are plain Python. Schema libraries are no faster (msgspec and pydantic were measured, dev/log.md); they
  cannot distinguish a broken outline, which may be left out, from a missing id, and msgspec stops at the first fault.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from ..errors import MissingFileError, UserError
from .faults import Fault
from .values import InvalidValueError, as_file_name, as_flag, as_integer, as_key, as_name, as_side, brief

__all__ = [
    'Category',
    'Image',
    'load_json',
    'read_categories',
    'read_crowd',
    'read_entry',
    'read_images',
    'read_numbers',
]


class Category(TypedDict):
    """A class of the file."""

    id: int
    name: str
    isthing: NotRequired[bool]
    color: NotRequired[list[int]]
    supercategory: NotRequired[str]


class Image(TypedDict):
    """A photo of the file."""

    id: int | str
    file_name: str
    """Path below the folder of the photos, with forward slashes."""
    height: NotRequired[int]
    """Pixels; with ``width`` or not at all."""
    width: NotRequired[int]


def load_json(path: Path, kind: str) -> dict[str, Any]:
    """Return the content of a JSON with "images" and "categories", whose "annotations" are a list, possibly empty.

    Args:
        path: The file.
        kind: 'panoptic' or 'instance', for the message.

    Raises:
        FileNotFoundError: There is no such file.
        UserError: It is not a JSON or has other content.
    """
    if not path.is_file():
        raise MissingFileError(f'Annotation file {path} does not exist; put it there or set data_root and ann_file.')
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f'{path} is not valid JSON ({error}); copy it again.') from error
    if not isinstance(content, dict) or not {'images', 'categories'} <= content.keys():
        raise UserError(f'{path} is not a COCO {kind} JSON: it needs "images", "annotations" and "categories".')
    content['annotations'] = content.get('annotations') or []
    for key in ('images', 'annotations', 'categories'):
        if not isinstance(content[key], list):
            raise UserError(f'{path}: "{key}" is {brief(content[key])} instead of a list; write it again.')
    return content


FIELDS: dict[str, Callable[[Any], Any]] = {
    'id': as_integer,
    'image_id': as_key,
    'category_id': as_integer,
    'file_name': as_file_name,
    'name': as_name,
    'isthing': as_flag,
    'iscrowd': as_flag,
}


def read_entry(entry: Mapping[str, Any], name: str, value_of: Callable[[Any], Any] | None = None) -> Any:
    """Return a field of an entry in its normal form.

    Args:
        entry: An entry of the JSON.
        name: Name of the field.
        value_of: Its rule, if that is not the one in ``FIELDS``.

    Raises:
        InvalidValueError: The field is missing or its value is invalid.
    """
    if name not in entry:
        raise InvalidValueError(f'has no "{name}"')
    try:
        return (value_of or FIELDS[name])(entry[name])
    except InvalidValueError as error:
        raise InvalidValueError(f'has a "{name}" that {error}') from None


def read_numbers(entry: dict[str, Any], *names: str) -> None:
    """Normalise, in place, fields that are nearly always whole numbers: this saves a million calls."""
    for name in names:
        if type(entry.get(name)) is not int:
            entry[name] = read_entry(entry, name)


def read_crowd(entry: dict[str, Any]) -> bool:
    """Return whether an entry is marked as a crowd."""
    crowd = entry.get('iscrowd', False)
    return crowd == 1 if type(crowd) is int and 0 <= crowd <= 1 else 'iscrowd' in entry and read_entry(entry, 'iscrowd')


def read_categories(entries: list[Any], faults: list[Fault], need_kind: bool) -> list[Category]:
    """Return the valid categories, sorted by id; the first one of each id.

    Args:
        entries: As in the JSON.
        faults: Faults found are added.
        need_kind: Whether they must have "isthing".
    """
    found: dict[int, Category] = {}
    for number, entry in enumerate(entries, start=1):
        where = f'category number {number}'
        try:
            check_mapping(entry)
            where = f'category {brief(entry.get("id"))}' if 'id' in entry else where
            fields: dict[str, Any] = {'id': read_entry(entry, 'id'), 'name': read_entry(entry, 'name')}
            if need_kind or entry.get('isthing') is not None:
                fields['isthing'] = read_entry(entry, 'isthing', _as_kind)
            color = _color(entry.get('color'))
        except InvalidValueError as error:
            remedy = 'write "id" (a number), "name" and "isthing"' if need_kind else 'write "id" (a number) and "name"'
            faults.append(Fault('category-incomplete', where, str(error), remedy))
            continue
        if fields['id'] in found:
            one, other = found[fields['id']]['name'], fields['name']
            what = f'appears twice ({brief(one)} and {brief(other)})'
            faults.append(Fault('category-id-twice', where, what, 'give every category its own id'))
            continue
        entry.update(fields)
        if 'isthing' not in fields:
            entry.pop('isthing', None)
        if color is None:
            entry.pop('color', None)
        if not isinstance(entry.get('supercategory'), str):
            entry.pop('supercategory', None)
        found[fields['id']] = entry
    return [found[number] for number in sorted(found)]


def _as_kind(value: Any) -> bool:
    """Return whether a class is a thing; of a class, unlike of a crowd, nothing is not a no."""
    if value is None:
        raise InvalidValueError('is None, which is neither 0 nor 1')
    return as_flag(value)


def _color(value: Any) -> list[int] | None:
    """Return a colour (red, green, blue), or None if there is none that can be shown."""
    if isinstance(value, list) and len(value) == 3 and all(type(part) is int and 0 <= part <= 255 for part in value):
        return value
    return None


def read_images(entries: list[Any], faults: list[Fault]) -> list[Image]:
    """Return the valid images in their order; the first one of each id.

    Args:
        entries: As in the JSON.
        faults: Faults found are added.
    """
    found: dict[int | str, Image] = {}
    for number, entry in enumerate(entries, start=1):
        where = f'image number {number}'
        try:
            check_mapping(entry)
            where = f'image {brief(entry.get("id"))}' if 'id' in entry else where
            key, name = read_entry(entry, 'id', as_key), read_entry(entry, 'file_name')
            if entry.get('height') is not None and entry.get('width') is not None:
                entry['height'], entry['width'] = (read_entry(entry, side, as_side) for side in ('height', 'width'))
            else:
                for side in ('height', 'width'):
                    entry.pop(side, None)
        except InvalidValueError as error:
            remedy = 'write "id" and "file_name", and if they are known "height" and "width"'
            faults.append(Fault('entry-incomplete', where, str(error), remedy))
            continue
        entry['id'], entry['file_name'] = key, name
        if key in found:
            what = f'appears twice ({brief(found[key]["file_name"])} and {brief(name)})'
            remedy = 'give every image its own id; of merged files, number one anew'
            faults.append(Fault('image-id-twice', f'image id {key}', what, remedy, key, name))
            continue
        found[key] = entry
    return list(found.values())


def check_mapping(entry: Any) -> None:
    """Raise an InvalidValueError if an entry is not a JSON object."""
    if not isinstance(entry, dict):
        raise InvalidValueError(f'is {brief(entry)} instead of an object with fields')
