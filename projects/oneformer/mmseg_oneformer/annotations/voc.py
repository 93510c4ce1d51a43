"""Pascal VOC's segmentation, also in the form of CVAT and Datumaro: in colours, which ``labelmap.txt`` names."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import UserError
from .faults import Fault, raise_faults
from .semantic_png import is_grey, one_channel, read_pixels
from .text import read_text
from .values import InvalidValueError, as_integer, as_name, brief

__all__ = [
    'BACKGROUND',
    'BORDER',
    'VOC_CLASSES',
    'VocLabel',
    'VocObjects',
    'read_labelmap',
    'read_voc_classes',
    'read_voc_objects',
]

# fmt: off
VOC_CLASSES = (
    'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow', 'diningtable', 'dog',
    'horse', 'motorbike', 'person', 'pottedplant', 'sheep', 'sofa', 'train', 'tvmonitor',
)
# fmt: on
BACKGROUND = 'background'
BORDER = 255

Color = tuple[int, int, int]


class VocLabel(NamedTuple):
    """A line of ``labelmap.txt``; its position among the lines is the value of the class."""

    name: str
    color: Color


class VocObjects(NamedTuple):
    """Objects of a photo.

    Attributes:
        numbers: (H, W) int32, 0 = none.
        names: The name in messages of each number that occurs.
    """

    numbers: np.ndarray
    names: dict[int, str]


def voc_color(value: int) -> Color:
    """Return the colour of a value in VOC's palette: its bits go in turn to red, green and blue, highest bits first."""
    color = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            color[channel] |= (value >> (3 * bit + channel) & 1) << (7 - bit)
    return color[0], color[1], color[2]


def read_labelmap(path: str | Path) -> list[VocLabel]:
    """Read ``labelmap.txt``: lines of ``name:red,green,blue:parts:actions``, and comments after "#".

    A line without a colour has that of its position in VOC's palette.

    Raises:
        UserError: A line has another form, a name or a colour occurs twice, or there are no classes.
    """
    labels: list[VocLabel] = []
    faults = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith('#'):
            continue
        name, _, rest = line.strip().partition(':')
        try:
            label = VocLabel(as_name(name.strip()), _color(rest.partition(':')[0], len(labels)))
            twice = next((one for one in labels if label.name == one.name or label.color == one.color), None)
            if twice:
                raise InvalidValueError(f'has the name or the colour of {brief(twice.name)}')
            labels.append(label)
        except InvalidValueError as error:
            faults.append(Fault('categories', f'line {number}', str(error), 'write: name:red,green,blue::'))
    raise_faults(path, faults)
    if not labels:
        raise UserError(f'{path} names no class; write lines of: name:red,green,blue::')
    return labels


def _color(text: str, place: int) -> Color:
    if not text.strip():
        return voc_color(place)
    try:
        red, green, blue = (as_integer(part) for part in text.split(','))
    except ValueError:
        raise InvalidValueError(f'has the colour {brief(text)}, which is not three numbers') from None
    if min(red, green, blue) < 0 or max(red, green, blue) > 255:
        raise InvalidValueError(f'has the colour {brief(text)}, whose numbers are not from 0 to 255')
    return red, green, blue


def read_voc_classes(path: str | Path, size: tuple[int, int], labels: Sequence[VocLabel] = ()) -> np.ndarray:
    """Return the values (H, W) int32 of a class PNG; 255 = border.

    Args:
        path: The PNG, which has one channel, a palette or colours.
        size: Height and width of the photo.
        labels: The labels whose colours it has; the value of each is its position. If empty, VOC's palette is used.

    Raises:
        UserError: It is missing, damaged or differs in size, or has a colour that belongs to no class.
    """
    pixels = read_pixels(path, size)
    if pixels.ndim == 2 or (not labels and is_grey(pixels)):
        return _values(path, pixels)
    palette = [label.color for label in labels] or [voc_color(value) for value in range(BORDER)]
    codes = np.array([_code(color) for color in palette])
    found, place = np.unique(_codes(pixels), return_inverse=True)
    values = np.full(len(found), -1, dtype=np.int32)
    values[found == _code(voc_color(BORDER))] = BORDER
    order = np.argsort(codes)
    near = order[np.minimum(np.searchsorted(codes[order], found), len(codes) - 1)]
    values[codes[near] == found] = near[codes[near] == found]
    if (values < 0).any():
        color = _shown(int(found[values < 0][0]))
        where = (
            'labelmap.txt does not list; add it there' if labels else "VOC's palette does not have; add labelmap.txt"
        )
        raise UserError(f'Annotation {path} has pixels of the colour {color}, which {where}.')
    return values[place].reshape(size)


def read_voc_objects(path: str | Path, size: tuple[int, int], coloured: bool = False) -> VocObjects:
    """Return the objects of an object PNG: 1, 2, ... (255 = border), or one colour per object (black = none).

    Args:
        path: The PNG.
        size: Height and width of the photo.
        coloured: White is the colour of an object, not the border.

    Raises:
        UserError: It is missing, damaged or differs in size.
    """
    pixels = read_pixels(path, size)
    if pixels.ndim == 2 or (not coloured and is_grey(pixels)):
        numbers = _values(path, pixels)
        numbers[numbers == BORDER] = 0
        present = np.flatnonzero(np.bincount(numbers.reshape(-1), minlength=1)[1:]) + 1
        return VocObjects(numbers, {number: f'object {number}' for number in present.tolist()})
    codes = _codes(pixels)
    codes[codes == _code(voc_color(BORDER))] = 0
    found, place = np.unique(codes, return_inverse=True)
    first = int(found[0] != 0)  # Number 0 is black, even if there is no black.
    names = {n + first: f'the object of colour {_shown(code)}' for n, code in enumerate(found.tolist()) if code}
    return VocObjects((place.reshape(size) + first).astype(np.int32), names)


def _values(path: str | Path, pixels: np.ndarray) -> np.ndarray:
    try:
        return one_channel(pixels)
    except InvalidValueError as error:
        raise UserError(f'Annotation {path} {error}.') from error


def _codes(pixels: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(pixels.astype(np.int64), -1, 0)
    return red << 16 | green << 8 | blue


def _code(color: Color) -> int:
    return color[0] << 16 | color[1] << 8 | color[2]


def _shown(code: int) -> Color:
    return code >> 16, code >> 8 & 255, code & 255
