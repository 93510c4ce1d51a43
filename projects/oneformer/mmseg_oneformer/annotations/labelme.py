"""labelme and X-AnyLabeling: one JSON of shapes per photo."""

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as mask_api

from ..errors import UserError
from ..files import read_json
from .faults import Fault, raise_faults
from .outlines import polygon_code
from .semantic_png import decode_mask
from .values import InvalidValueError, as_integer, as_name, as_number, as_side, brief

__all__ = ['LabelmeFile', 'LabelmeShape', 'read_labelme', 'shape_code']

CORNERS = 64
"""Corners of the polygon that a circle is drawn as."""
WITHOUT_AREA = ('point', 'line', 'linestrip', 'points')
OUTLINES = ('polygon', 'rotation', 'quadrilateral')
"""Shapes that are given by their corners; the last two are X-AnyLabeling's."""

Point = tuple[float, float]


class LabelmeShape(NamedTuple):
    """A shape as it is drawn.

    Attributes:
        number: From 1, in the order of the file.
        label: As it is written.
        kind: ``shape_type``.
        points: x and y in pixels.
        group: The group that shapes of one object share, or None.
        mask: PNG of a mask, or None.
    """

    number: int
    label: str
    kind: str
    points: tuple[Point, ...]
    group: str | None
    mask: bytes | None

    @property
    def entry(self) -> str:
        """The name of the shape in messages."""
        return f'shape {self.number} ({self.label})'


class LabelmeFile(NamedTuple):
    """The content of a JSON.

    Attributes:
        photo: Name of the photo without its folder, or None.
        height: Height of the photo, or None.
        width: Width of the photo, or None.
        shapes: In the order of the file; only :func:`shape_code` tells whether they can be drawn.
        broken: Faults of shapes whose points are invalid.
    """

    photo: str | None
    height: int | None
    width: int | None
    shapes: list[LabelmeShape]
    broken: list[Fault]


def read_labelme(path: Path) -> LabelmeFile:
    """Read a JSON of labelme or X-AnyLabeling.

    Raises:
        UserError: It is not such a JSON, or a size or a label is invalid.
    """
    content = read_json(path, 'save it in labelme again')
    if not isinstance(content, dict) or not isinstance(content.get('shapes'), list) or 'imagePath' not in content:
        raise UserError(f'{path} is not a labelme JSON: it needs "shapes" and "imagePath"; remove it from the folder.')
    faults, broken, shapes = [], [], []
    sides: dict[str, int | None] = {}
    for key in ('imageHeight', 'imageWidth'):
        try:
            sides[key] = None if content.get(key) is None else as_side(content[key])
        except InvalidValueError as error:
            faults.append(Fault('size', f'"{key}"', str(error), 'save it in labelme again'))
    try:
        photo = _photo(content['imagePath'])
    except InvalidValueError as error:
        faults.append(Fault('file_name', '"imagePath"', str(error), 'name the photo'))
    for number, shape in enumerate(content['shapes'], start=1):
        entry = f'shape {number}'
        if not isinstance(shape, dict) or shape.get('label') is None:
            faults.append(Fault('categories', entry, 'has no label', 'name its class'))
            continue
        try:
            label = as_name(shape['label'])
        except InvalidValueError as error:
            faults.append(Fault('categories', entry, f'has a label that {error}', 'name its class'))
            continue
        try:
            shapes.append(_shape(number, label, shape))
        except InvalidValueError as error:
            broken.append(Fault('outline', f'{entry} ({label})', str(error), 'draw it again or remove it'))
    raise_faults(path, faults)
    return LabelmeFile(photo, sides['imageHeight'], sides['imageWidth'], shapes, broken)


def _photo(value: Any) -> str | None:
    """Return the name of a photo; labelme on Windows writes backslashes, and X-AnyLabeling null."""
    if value is None or value == '':
        return None
    if not isinstance(value, str) or '\0' in value:
        raise InvalidValueError(f'is {brief(value)}, which is not a file name')
    name = value.replace('\\', '/').rpartition('/')[2]
    if name in ('', '.', '..') or not name.isprintable():
        raise InvalidValueError(f'is {brief(value)}, which is not a file name')
    return name


def _shape(number: int, label: str, shape: Mapping[str, Any]) -> LabelmeShape:
    kind, points, mask = shape.get('shape_type') or 'polygon', shape.get('points'), shape.get('mask')
    if not isinstance(points, list) or not all(isinstance(point, list) and len(point) == 2 for point in points):
        raise InvalidValueError('has points that are not pairs of x and y')
    if not isinstance(kind, str):
        raise InvalidValueError(f'has the shape {brief(kind)}')
    try:
        corners = tuple((as_number(x), as_number(y)) for x, y in points)
    except InvalidValueError as error:
        raise InvalidValueError(f'has a coordinate that {error}') from None
    return LabelmeShape(number, label, kind, corners, _group(shape.get('group_id')), _png(mask))


def _group(value: Any) -> str | None:
    """Return the key of a group: 3, 3.0 and "3" are the same."""
    if value is None:
        return None
    try:
        return str(as_integer(value))
    except InvalidValueError:
        return value if isinstance(value, str) else brief(value)


def _png(text: Any) -> bytes | None:
    if text is None:
        return None
    try:
        return base64.b64decode(text)
    except (TypeError, ValueError, binascii.Error):
        raise InvalidValueError('has a mask that cannot be decoded') from None


def shape_code(shape: LabelmeShape, size: tuple[int, int]) -> dict[str, Any]:
    """Return the run-length code of a shape on a photo of ``size`` (height, width).

    Raises:
        InvalidValueError: It has no area, is of an unknown kind, has too few points, or lies far outside the photo.
    """
    kind, points = shape.kind, shape.points
    if kind in WITHOUT_AREA:
        raise InvalidValueError(f'is a {kind}, which has no area')
    if kind in OUTLINES or (kind == 'rectangle' and len(points) == 4):  # X-AnyLabeling writes all four corners.
        return _drawn(points, size)
    if kind not in ('rectangle', 'circle', 'mask') or len(points) != 2:
        raise InvalidValueError(f'is of the unknown shape {brief(kind)} of {len(points)} points')
    (left, top), (right, bottom) = points
    if kind == 'rectangle':
        return _drawn([(left, top), (right, top), (right, bottom), (left, bottom)], size)
    if kind == 'circle':
        radius = math.hypot(right - left, bottom - top)
        angles = [2 * math.pi * corner / CORNERS for corner in range(CORNERS)]
        return _drawn([(left + radius * math.cos(a), top + radius * math.sin(a)) for a in angles], size)
    return _mask_code(shape.mask or b'', round(left), round(top), size)


def _drawn(points: Sequence[Point], size: tuple[int, int]) -> dict[str, Any]:
    return polygon_code([[value for point in points for value in point]], size)


def _mask_code(data: bytes, left: int, top: int, size: tuple[int, int]) -> dict[str, Any]:
    """Return the code of a mask that labelme stores as a PNG, its upper left corner at (left, top).

    Anything outside the photo is cut off, as for outlines.
    """
    try:
        mask = decode_mask(data, (2 * size[0], 2 * size[1]))
    except InvalidValueError as error:
        raise InvalidValueError(f'has a mask that {str(error).partition(":")[0]}') from None
    full = np.zeros(size, dtype=np.uint8, order='F')
    rows, columns = (
        slice(max(start, 0), max(start + side, 0)) for start, side in zip((top, left), mask.shape, strict=True)
    )
    inside = full[rows, columns]
    inside[:] = mask[max(-top, 0) :, max(-left, 0) :][: inside.shape[0], : inside.shape[1]]
    return mask_api.encode(full)
