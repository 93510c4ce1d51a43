"""One rule for every kind of value in annotation files, whatever their format.

Exporters write the same value in many ways: the id 300 as 300, 300.0 or "300", a flag as 0, false or "0". Each function
here accepts all of them, returns one form, and raises ``InvalidValueError`` for everything else.
"""

import math
import re
import reprlib
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

__all__ = [
    'MAX_SIDE',
    'InvalidValueError',
    'as_file_name',
    'as_flag',
    'as_integer',
    'as_key',
    'as_name',
    'as_number',
    'as_side',
    'brief',
]

MAX_SIDE = 1_000_000
"""Maximum side of a photo in pixels: anything larger is not a photo, and sizes are multiplied."""
MAX_NAME, MAX_PATH = 255, 4000
"""Bytes of a file's name, and of its path, that file systems take."""
MAX_INTEGER = 2**53
"""JSON's numbers above it are not exact."""
FLAGS = {'0': False, 'false': False, '1': True, 'true': True}
NUMERAL = re.compile(r'-?(0|[1-9]\d{0,15})(\.0+)?')


class InvalidValueError(ValueError):
    """The fault of a value, phrased to follow the name of the entry or field."""


def brief(value: Any) -> str:
    """Return a value as a message shows it: on one line of at most 60 characters."""
    show = reprlib.repr if not isinstance(value, str) else repr if value.isprintable() else ascii
    text = show(value)  # reprlib, since it handles any depth
    return text if len(text) <= 60 else f'{text[:57]}...'


def as_integer(value: Any) -> int:
    """Return a whole number: 300, 300.0 and "300" are 300."""
    if type(value) is int and -MAX_INTEGER <= value <= MAX_INTEGER:
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_INTEGER:
        return int(value)
    if isinstance(value, str) and NUMERAL.fullmatch(value.strip()):
        return int(value.strip().partition('.')[0])
    raise InvalidValueError(f'is {brief(value)}, which is not a whole number')


def as_key(value: Any) -> int | str:
    """Return the id of a photo: a whole number as in :func:`as_integer`, or a name such as "frankfurt_000000"."""
    if isinstance(value, str) and value and not NUMERAL.fullmatch(value.strip()):
        return value
    return as_integer(value)


def as_flag(value: Any) -> bool:
    """Return a flag: 0, 1, false, true, also as text; null is false."""
    if value is None:
        return False
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    if isinstance(value, str) and value.strip().lower() in FLAGS:
        return FLAGS[value.strip().lower()]
    raise InvalidValueError(f'is {brief(value)}, which is neither 0 nor 1')


def as_number(value: Any) -> float:
    """Return a finite number, which may be written as text."""
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    raise InvalidValueError(f'is {brief(value)}, which is not a finite number')


def as_side(value: Any) -> int:
    """Return the height or width of a photo in pixels."""
    side = as_integer(value)
    if not 0 < side <= MAX_SIDE:
        raise InvalidValueError(f'is {side}, which is not between 1 and {MAX_SIDE} pixels')
    return side


def as_name(value: Any) -> str:
    """Return the name of a class as it is written; numbers and booleans are not names."""
    if not isinstance(value, str):
        raise InvalidValueError(f'is {brief(value)}, which is not text')
    if not value.strip() or not _encodable(value):
        raise InvalidValueError(f'is {brief(value)}, which is not a name')
    return value


def as_file_name(value: Any) -> str:
    """Return the path of a file below its folder, with forward slashes, which replace Windows' backslashes.

    A path that leads out of the folder is invalid: it could read or write any file.
    """
    if not isinstance(value, str) or not value or '\0' in value or not _encodable(value):
        raise InvalidValueError(f'is {brief(value)}, which is not a file name')
    path = value.replace('\\', '/')
    pure = PurePosixPath(path)
    if pure.is_absolute() or PureWindowsPath(path).drive or '..' in pure.parts or not pure.name:
        raise InvalidValueError(f'is {brief(value)}, which leads out of its folder')
    if max(len(part.encode()) for part in pure.parts) > MAX_NAME or len(path.encode()) > MAX_PATH:
        raise InvalidValueError(f'is {brief(value)}, which is too long for a file name')
    return path


def _encodable(text: str) -> bool:
    """Return whether a text can be written in UTF-8: JSON may contain lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
