"""labelme: one JSON of shapes a photo."""

import base64
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as mask_api

from ...errors import UserError
from ...files import read_json
from ..layout import list_files
from ..own_data import Photo, parse_classes
from ..scene import Annotation, Region, polygon_code

__all__ = ['LabelmeFormat']

CORNERS = 64
"""Of the polygon that a circle is drawn as."""

WITHOUT_AREA = ('point', 'line', 'linestrip', 'points')


class LabelmeFormat:
    """Polygons, rectangles, circles and masks; shapes of one label and one ``group_id`` are one object.

    Args:
        annotations: Folder of the JSONs.
        images: Folder of the photos; each JSON's ``imagePath`` is looked for there by its name, below the same
            subfolder as the JSON.
        things: Labels of countable classes.
        stuff: Labels of the others.
        ignored: Labels that become void where nothing else covers them.
    """

    def __init__(
        self, annotations: Path, images: Path, things: Sequence[str], stuff: Sequence[str], ignored: Sequence[str] = ()
    ) -> None:
        if not annotations.is_dir():
            raise UserError(f'Folder {annotations} does not exist; give the folder of labelme JSONs.')
        self.annotations, self.images, self.ignored = annotations, images, set(ignored)
        self.classes = parse_classes(things, stuff, ())

    def photos(self) -> list[Photo]:
        """The photos of all JSONs, sorted by the names of the JSONs."""
        photos = []
        for number, path in enumerate(list_files(self.annotations, ('.json',)), start=1):
            content = _read(path)
            # labelme on Windows writes backslashes.
            photo = Path(content['imagePath'].replace('\\', '/')).name
            name = (path.relative_to(self.annotations).parent / photo).as_posix()
            photos.append(Photo(name, str(self.images / name), number, (str(path),)))
        return photos

    def read(self, photo: Photo, size: tuple[int, int]) -> Annotation:
        """Shapes of the JSON."""
        path = Path(photo.annotation[0])
        content = _read(path)
        noted = (content.get('imageHeight') or size[0], content.get('imageWidth') or size[1])
        if noted != size:
            raise UserError(
                f'{path} was drawn on a photo of {noted[1]}x{noted[0]}, {photo.path} is {size[1]}x{size[0]} '
                '(width x height); find the right photo.'
            )
        groups: dict[Any, list[dict]] = {}
        labels: dict[Any, int] = {}
        for number, shape in enumerate(content['shapes'], start=1):
            label = shape['label']
            if label in self.ignored:
                continue
            if label not in self.classes.names:
                raise UserError(
                    f'{path}: shape {number} has the unknown label {label!r}; add it to --things, --stuff or --ignore.'
                )
            try:
                code = _shape_code(shape, size)
            except ValueError as error:
                raise UserError(f'{path}: shape {number} ({label}): {error}.') from error
            group = shape.get('group_id')
            key = (label, group) if group is not None else number
            groups.setdefault(key, []).append(code)
            labels[key] = self.classes.names.index(label)
        regions = [Region(labels[key], mask_api.merge(codes)) for key, codes in groups.items()]
        return Annotation(size, regions)


def _read(path: Path) -> dict:
    content = read_json(path, 'save it in labelme again')
    if not isinstance(content, dict) or not {'shapes', 'imagePath'} <= content.keys():
        raise UserError(f'{path} is not a labelme JSON: it needs "shapes" and "imagePath"; remove it from the folder.')
    return content


def _shape_code(shape: dict, size: tuple[int, int]) -> dict[str, Any]:
    """Run-length code of one shape."""
    kind, points = shape.get('shape_type') or 'polygon', shape['points']
    if kind in WITHOUT_AREA:
        raise UserError(f'a {kind} has no area; draw its outline, or leave its label out with --ignore')
    if kind == 'polygon':
        return polygon_code([[value for point in points for value in point]], size)
    if kind not in ('rectangle', 'circle', 'mask') or len(points) != 2:
        raise UserError(f'unknown shape {kind!r} of {len(points)} points; draw it as a polygon')
    (left, top), (right, bottom) = points
    if kind == 'rectangle':
        return polygon_code([[left, top, right, top, right, bottom, left, bottom]], size)
    if kind == 'circle':
        radius = math.hypot(right - left, bottom - top)
        angles = [2 * math.pi * corner / CORNERS for corner in range(CORNERS)]
        outline = [value for a in angles for value in (left + radius * math.cos(a), top + radius * math.sin(a))]
        return polygon_code([outline], size)
    return _mask_code(shape.get('mask') or '', round(left), round(top), size)


def _mask_code(data: str, left: int, top: int, size: tuple[int, int]) -> dict[str, Any]:
    """Run-length code of a mask that labelme stores as a PNG in base64, its upper left corner at (left, top)."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            part = np.asarray(picture) > 0
    except (OSError, ValueError) as error:
        raise UserError('its mask cannot be decoded; draw it again') from error
    full = np.zeros(size, dtype=np.uint8, order='F')
    if min(left, top) < 0 or top + part.shape[0] > size[0] or left + part.shape[1] > size[1]:
        raise UserError('its mask reaches outside the photo; draw it again')
    full[top : top + part.shape[0], left : left + part.shape[1]] = part
    return mask_api.encode(full)
