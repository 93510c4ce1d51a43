"""Semantic PNGs and other maps with a number for each pixel, read as they are stored and not as they look.

Decisions:
* A palette index or a value of 1, 2, 4, 8 or 16 bits: the number is what the file stores. Pillow scales 2 and 4 bits to
  8, and keeps 8 bits of 16 in colours.
* Three equal channels are treated as one, and alpha is ignored: editors add both when they save.
* The size is in the header. It is compared with the photo's before anything is decoded, since a small file may expand
  to gigabytes.
"""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from ..errors import UserError
from .values import InvalidValueError

__all__ = [
    'MAX_VALUE',
    'decode_mask',
    'decode_pixels',
    'decode_values',
    'encoded_size',
    'is_grey',
    'one_channel',
    'read_pixels',
    'read_values',
]

Size = tuple[int, int]

MAX_VALUE = 65535
"""Tables have an entry for every value up to the largest one; a PNG stores at most 16 bits."""
MAX_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 89_478_485)
"""Maximum for a map whose photo's size is not known."""
SIGNATURE = b'\x89PNG\r\n\x1a\n'
STRETCHED = {2: 85, 4: 17}
"""Pillow's scale factor by bits of a grey value."""
UNDECODABLE = (OSError, SyntaxError, ValueError, IndexError, TypeError, EOFError, struct.error, zlib.error)
"""What Pillow raises for bytes that are not an image, besides its own warnings."""
DAMAGED = 'cannot be decoded: it is damaged or not a PNG; copy it again'
COLOURS = (
    'has colours; a semantic PNG has one channel, a palette, or three equal channels, with one value for each class'
)


def read_values(path: str | Path, size: Size | None = None) -> np.ndarray:
    """Return the values of a PNG; see :func:`decode_values`.

    Raises:
        UserError: It is missing, damaged, differs in size, or has colours.
    """
    try:
        return decode_values(_read(path), size)
    except InvalidValueError as error:
        raise UserError(f'Annotation {path} {error}.') from error


def read_pixels(path: str | Path, size: Size | None = None) -> np.ndarray:
    """Return the pixels of a PNG, which may have colours; see :func:`decode_pixels`.

    Raises:
        UserError: It is missing, damaged or differs in size.
    """
    try:
        return decode_pixels(_read(path), size)
    except InvalidValueError as error:
        raise UserError(f'Annotation {path} {error}.') from error


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise UserError(f'Annotation {path} does not exist; unpack or copy it there.') from error


def decode_values(data: bytes, size: Size | None = None) -> np.ndarray:
    """Return the values (H, W) int32, from 0 to 65535, of a PNG.

    Args:
        data: The file's bytes.
        size: Height and width of the photo, if known.

    Raises:
        InvalidValueError: It cannot be decoded, differs in size, or has colours.
    """
    return one_channel(decode_pixels(data, size))


def one_channel(pixels: np.ndarray) -> np.ndarray:
    """Return the values (H, W) int32, from 0 to 65535, of decoded pixels.

    Raises:
        InvalidValueError: They have colours, or other values.
    """
    if pixels.ndim == 3:
        if not is_grey(pixels):
            raise InvalidValueError(COLOURS)
        pixels = pixels[..., 0]
    if pixels.dtype.kind == 'f' or pixels.min(initial=0) < 0 or pixels.max(initial=0) > MAX_VALUE:
        raise InvalidValueError(f'has values that are not whole numbers from 0 to {MAX_VALUE}; save it as a PNG')
    return pixels.astype(np.int32)


def is_grey(pixels: np.ndarray) -> bool:
    """Return whether all channels of decoded pixels are equal."""
    return pixels.ndim == 2 or bool((pixels == pixels[..., :1]).all())


def decode_pixels(data: bytes, size: Size | None = None) -> np.ndarray:
    """Return the stored numbers of a PNG: (H, W), or (H, W, 3) with red first.

    Args:
        data: The file's bytes.
        size: Height and width of the photo, if known.

    Raises:
        InvalidValueError: It cannot be decoded, or differs in size.
    """
    with _open(data) as picture:
        height, width = picture.height, picture.width
        if size is not None and (height, width) != tuple(size):
            raise InvalidValueError(_size_fault((height, width), size))
        if size is None and height * width > MAX_PIXELS:
            raise InvalidValueError(f'has {width}x{height} pixels, too many for a photo; copy it again')
        is_png = isinstance(picture, PngImageFile)
        depth, colours = (data[24], data[25] & 6) if is_png else (8, 0)
        if depth == 16 and colours:  # Pillow would keep the upper 8 bits.
            return _with_16_bits(data)
        try:
            pixels = np.asarray(picture)
        except UNDECODABLE as error:
            raise InvalidValueError(DAMAGED) from error
        mode = picture.mode
    if pixels.dtype == bool:
        pixels = (pixels.view(np.uint8) > 0).astype(np.uint8)  # Pillow's memory of True is 255.
    if mode in ('LA', 'PA', 'La'):
        return pixels[..., 0]
    if mode in ('RGBA', 'RGBa', 'RGBX'):
        return pixels[..., :3]
    if pixels.ndim == 3 and mode != 'RGB':
        raise InvalidValueError(COLOURS)
    return pixels // STRETCHED[depth] if is_png and mode == 'L' and depth in STRETCHED else pixels


def decode_mask(data: bytes, most: Size) -> np.ndarray:
    """Return where a mask (H, W) bool is set: where its pixels are neither 0 nor transparent.

    Args:
        data: The PNG's bytes.
        most: Maximum height and width.

    Raises:
        InvalidValueError: It cannot be decoded, or is larger.
    """
    height, width = encoded_size(data)
    if height > most[0] or width > most[1]:
        raise InvalidValueError(f'is {width}x{height}, which is larger than its photo')
    pixels = decode_pixels(data, (height, width))
    mask = (pixels if pixels.ndim == 2 else pixels.max(axis=-1)) > 0
    with _open(data) as picture:
        return mask & (np.asarray(picture.getchannel('A')) > 0) if 'A' in picture.getbands() else mask


def encoded_size(data: bytes) -> Size:
    """Return height and width of a PNG from its header.

    Raises:
        InvalidValueError: It has no size.
    """
    with _open(data) as picture:
        return picture.height, picture.width


def _open(data: bytes) -> Image.Image:
    """Return a picture of which only the header is decoded."""
    try:
        # Opened directly as a PNG, it may have more pixels than Pillow allows, as photos may.
        if data.startswith(SIGNATURE):
            return PngImageFile(io.BytesIO(data))
        return Image.open(io.BytesIO(data))
    except (*UNDECODABLE, Image.DecompressionBombError) as error:
        raise InvalidValueError(DAMAGED) from error


def _with_16_bits(data: bytes) -> np.ndarray:
    """Return the pixels (H, W, 3) uint16 of a PNG that has colours or an alpha channel."""
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise InvalidValueError(DAMAGED) from error
    if pixels is None or pixels.ndim != 3:
        raise InvalidValueError(DAMAGED)
    return pixels[..., 2::-1]


def _size_fault(size: Size, photo: Size) -> str:
    remedy = (
        'the photo is turned by its EXIF orientation: save it without, or turn the map'
        if size == tuple(photo)[::-1]
        else 'scale the map by nearest neighbour or find the right file'
    )
    return f'is {size[1]}x{size[0]} but its photo is {photo[1]}x{photo[0]} (width x height); {remedy}'
