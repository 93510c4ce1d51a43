"""YOLO: one text file of outlines per photo, and the names of the classes in a list or a ``data.yaml``."""

import math
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from ..errors import UserError
from .faults import Fault, raise_faults
from .outlines import polygon_code
from .text import read_text
from .values import InvalidValueError, as_integer, as_name, as_number, brief

__all__ = ['YoloLabels', 'YoloObject', 'check_names', 'read_yolo_labels', 'read_yolo_names', 'yolo_code']

RULE = 'outline'
FORM = 'write: class x1 y1 x2 y2 x3 y3'


class YoloObject(NamedTuple):
    """A line: its number in the file, its class number, and the outline x, y, x, y, ... as shares of the photo."""

    line: int
    label: int
    outline: tuple[float, ...]


class YoloLabels(NamedTuple):
    """The content of a text file: objects, and the lines that are not objects with an outline, such as boxes."""

    objects: list[YoloObject]
    broken: list[Fault]


def read_yolo_labels(path: str | Path, num_classes: int) -> YoloLabels:
    """Read the text file of a photo.

    Args:
        path: The file.
        num_classes: Classes are numbered from 0 to ``num_classes - 1``.

    Raises:
        UserError: It is not text, or a class is not a number or unknown.
    """
    objects, broken, faults = [], [], []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        entry = f'line {number}'
        try:
            label = as_integer(fields[0])
        except InvalidValueError:
            what = f'begins with {brief(fields[0])}, which is not the number of a class'
            faults.append(Fault('categories', entry, what, FORM))
            continue
        if not 0 <= label < num_classes:
            what = f'is of class {label}, but there are {num_classes} classes, numbered from 0'
            faults.append(Fault('categories', entry, what, 'name it with --names'))
            continue
        try:
            objects.append(YoloObject(number, label, _outline(fields[1:])))
        except InvalidValueError as error:
            broken.append(Fault(RULE, entry, str(error), FORM))
    raise_faults(path, faults)
    return YoloLabels(objects, broken)


def _outline(fields: list[str]) -> tuple[float, ...]:
    if len(fields) == 4:
        raise InvalidValueError('is a box, which cannot become a segment')
    with suppress(ValueError):  # Four times faster than checking each number.
        values = tuple(map(float, fields))
        if math.isfinite(sum(values)):
            return values
    try:
        return tuple(map(as_number, fields))
    except InvalidValueError as error:
        raise InvalidValueError(f'has a coordinate that {error}') from None


def yolo_code(one: YoloObject, size: tuple[int, int]) -> dict[str, Any]:
    """Return the run-length code of an object on a photo of ``size`` (height, width).

    Raises:
        InvalidValueError: It has fewer than three points, or lies far outside the photo, such as pixel coordinates.
    """
    pixels = [value * size[1 - place % 2] for place, value in enumerate(one.outline)]
    try:
        return polygon_code([pixels], size)
    except InvalidValueError as error:
        in_pixels = len(pixels) and max(map(abs, one.outline)) > 2
        hint = '; coordinates are shares of width and height, from 0 to 1' if in_pixels else ''
        raise InvalidValueError(f'{error}{hint}') from None


def read_yolo_names(path: str | Path) -> list[str]:
    """Return the names of the classes in the order of their numbers.

    Args:
        path: A ``data.yaml`` with ``names``, as a list or by number, or a text file with a name on each line.

    Raises:
        UserError: It holds no names, a number is missing or given twice, or a name is given twice.
    """
    text = read_text(path)
    names = _of_yaml(path, text) if Path(path).suffix.lower() in ('.yaml', '.yml') else text.splitlines()
    names = '\n'.join(name.strip() for name in names).rstrip('\n').split('\n')
    if names == ['']:
        raise UserError(f'{path} has no names of classes; write one on each line.')
    if '' in names:  # Left out, it would give each class behind it another number.
        raise UserError(f'{path} has no name on line {names.index("") + 1}; write one on each line.')
    return check_names(names, path)


def check_names(names: list[str], source: str | Path) -> list[str]:
    """Return the names of classes, or raise a UserError if one is given twice or is not a name."""
    if len(twice := sorted({name for name in names if names.count(name) > 1})):
        raise UserError(f'{source} has the name {brief(twice[0])} twice; give each class a name of its own.')
    try:
        return list(map(as_name, names))
    except InvalidValueError as error:
        raise UserError(f'{source} has a name that {error}; correct it.') from error


class _Loader(yaml.BaseLoader):
    """Refuses a key that stands twice, of which YAML would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping, or raise a YAMLError."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for number, key in enumerate(keys):
            if key in keys[:number]:
                raise yaml.YAMLError(f'{key} is given twice')
        return super().construct_mapping(node, deep)


def _of_yaml(path: str | Path, text: str) -> list[str]:
    """Return ``names``, in which every scalar is text: as YAML, the names *no* and *on* would be booleans."""
    try:
        content = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        sentence = ' '.join(str(error).split())
        raise UserError(f'{path} is not valid YAML ({brief(sentence)}); correct it.') from error
    found = content.get('names') if isinstance(content, dict) else None
    if not found:
        raise UserError(f'{path} has no "names"; give the class names behind --names.')
    names = list(found.values()) if isinstance(found, dict) else found
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        raise UserError(f'{path} has "names" that are neither a list of names nor names by number; correct them.')
    return _by_number(path, found) if isinstance(found, dict) else names


def _by_number(path: str | Path, names: dict[str, str]) -> list[str]:
    try:
        by_number = {as_integer(number): name for number, name in names.items()}
    except InvalidValueError as error:
        raise UserError(f'{path} has a class number in "names" that {error}; number the classes from 0.') from error
    if len(by_number) < len(names):
        raise UserError(f'{path} gives a class number in "names" twice; number the classes from 0.')
    if missing := np.setdiff1d(np.arange(len(names)), list(by_number)).tolist():
        raise UserError(
            f'{path} has {len(names)} "names" but none of class {missing[0]}; number the classes from 0 without gaps.'
        )
    return [by_number[number] for number in range(len(names))]
