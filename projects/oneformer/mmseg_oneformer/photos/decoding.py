"""The pixels of a photo, decoded in the same way for training, inference, the service, the doctor and reports.

Decisions:
* (H, W, 3) uint8 BGR, as the photo is shown. JPEGs and PNGs of 8 bits are decoded by OpenCV, with the same bytes as
  ``mmcv.LoadImageFromFile``; everything else, and what OpenCV rejects, by Pillow. OpenCV is not used for other formats:
  it multiplies the colours of a TIFF by a fourth channel, does not rotate an AVIF, and makes signed values black.
* Alpha and bands after the third are dropped. Colour profiles are not applied.
* Of 16 bits the upper 8 are used, in every photo: a rule based on a photo's largest value would give photos of the same
  set, or frames of the same video, different brightness. If this leaves a photo dark because the data use only 12 of
  the 16 bits, the user is told, and ``bits=12`` in the config's pipelines uses the upper 8 of the 12, everywhere.
* The size of a photo is read from its header before any of it is decoded. A caller that does not trust the photo sets a
  limit on its pixels; a user's own photo is limited only by free memory.
"""

import io
from pathlib import Path
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
from PIL import Image

from ..memory import available_memory
from .errors import PhotoError, damaged, plugin_errors, unsupported
from .form import Header, exif_orientation
from .header import open_photo, opened, unlimited
from .ordinary import is_ordinary, ordinary_header

__all__ = ['Decoded', 'decode_photo', 'photo_fault', 'pillow_to_bgr', 'read_photo']

LARGE = 50_000_000
"""Number of pixels from which on free memory is checked first; checking takes 0.1 ms."""
COLORS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
OPENCV_BYTES, PILLOW_BYTES = 7, 14
"""Bytes per pixel for decoding: the result, what it is made from, and the same again if it has to be rotated."""


class Decoded(NamedTuple):
    """A photo."""

    pixels: np.ndarray
    """(H, W, 3) uint8 BGR as shown."""
    header: Header
    notes: tuple[str, ...]
    """What a user should know about how it was read, each completing a sentence that begins with the photo's name."""


def read_photo(path: str | Path, bits: int | None = None) -> np.ndarray:
    """Return a photo (H, W, 3) uint8 BGR as it is shown; see :func:`decode_photo`.

    Raises:
        UserError: It does not exist or cannot be read.
    """
    return decode_photo(path, bits=bits).pixels


def decode_photo(
    photo: str | Path | bytes, *, max_pixels: int | None = None, bits: int | None = None, name: str = ''
) -> Decoded:
    """Decode a photo.

    Args:
        photo: A path, or the bytes of a file.
        max_pixels: Set by callers that do not know where the photo comes from; then only the formats of
            ``photos.header.FORMATS`` are accepted.
        bits: How many bits of 16 the data use, 8 to 16; None: all that the file has.
        name: How errors name it; by default its path.

    Raises:
        MissingFileError: It does not exist.
        PhotoError: It is not a photo, or it is damaged, in an unsupported format, or too large.
    """
    if isinstance(photo, bytes):
        if not photo:
            raise PhotoError('There are no bytes to decode.', 'unknown', 'is empty')
        with plugin_errors(name := name or 'of these bytes'):
            return _decode(io.BytesIO(photo), name, max_pixels, bits)
    with opened(photo) as file, plugin_errors(name := name or str(photo)):
        return _decode(file, name, max_pixels, bits)


def photo_fault(path: str | Path) -> str | None:
    """Return a sentence on why the photo ``path`` cannot be read, or None if it can be read or is in a remote store.

    For readers other than ours, after a failure: reading each photo twice would double the loading time.
    """
    if '://' in str(path) or ':/' in str(path)[2:]:  # `2:` skips Windows drives.
        return None
    try:
        read_photo(path)
    except (PhotoError, FileNotFoundError) as error:
        return str(error)
    return None


def _decode(file: io.FileIO | io.BytesIO, name: str, max_pixels: int | None, bits: int | None) -> Decoded:
    whole: BinaryIO
    if is_ordinary(file.read(8)):
        file.seek(0)
        data = file.read()
        header = ordinary_header(data, name) if max_pixels is None else None
        if header is not None:
            _check_memory(header, name)
            pixels = _by_opencv(data, COLORS)
            if pixels is not None and pixels.shape[:2] == header.stored_size:
                return Decoded(_turn(pixels, header.orientation), header, ())
        whole = io.BytesIO(data)
    else:
        whole = file if isinstance(file, io.BytesIO) else io.BufferedReader(file)
    with unlimited, whole:
        image, header = open_photo(whole, name, stranger=max_pixels is not None)
        if max_pixels is not None and max(header.pixels, header.tile) > max_pixels:
            size = f'tiles of {header.tile}' if header.tile > max_pixels else '{1} x {0}'.format(*header.size)
            raise PhotoError(f'Image {name} has {size} pixels, more than {max_pixels}; make it smaller.', 'large', size)
        _check_memory(header, name)
        pixels, notes = _pixels(image, header, whole, name, bits)
    if pixels.shape[:2] != header.size:
        raise damaged(name, 'its header is of another size')
    return Decoded(pixels, header, (*notes, *_dropped(header)))


def _check_memory(header: Header, name: str) -> None:
    if header.pixels < LARGE or (free := available_memory()) is None:
        return
    needed = header.pixels * (OPENCV_BYTES if _is_opencvs(header) else PILLOW_BYTES)
    if needed > free:
        height, width = header.size
        raise PhotoError(
            f'Image {name} has {width} x {height} pixels, which take {needed / 1e9:.1f} GB of memory to decode, and '
            f'{free / 1e9:.1f} GB are free; cut it into smaller ones.',
            'memory',
            f'{width} x {height}',
        )


def _is_opencvs(header: Header) -> bool:
    """Return whether OpenCV decodes a photo of this kind correctly."""
    if header.format in ('JPEG', 'MPO'):
        return header.mode in ('L', 'RGB')
    return header.format == 'PNG' and header.bits <= 8 and not header.frames


def _pixels(
    image: Image.Image, header: Header, file: BinaryIO, name: str, bits: int | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return (H, W, 3) uint8 BGR, rotated as shown, and notes for the user."""
    place = file.tell()  # Pillow continues to read from here.
    if _is_opencvs(header):
        found = _by_opencv(_all(file), COLORS)
        if found is not None and found.shape[:2] == header.stored_size:
            return _turn(found, header.orientation), ()
    is_integer = header.mode.startswith('I')
    if header.bits > 8 and not is_integer and header.format in ('PNG', 'TIFF'):
        values = _deep_colours(_all(file), header)
        if values is not None:
            return _eight_bits(values, header, bits)
        if bits is not None:
            raise unsupported(name, f'{header.bits} bits a channel in a form whose lower bits cannot be read')
    file.seek(place)
    image.info.pop('xmp', None)  # Pillow rotates a TIFF when it is loaded, also by XMP.
    image.load()
    notes: tuple[str, ...] = ()
    if is_integer:
        scaled, notes = _eight_bits(np.asarray(image), header, bits)
        pixels = cv2.cvtColor(scaled, cv2.COLOR_GRAY2BGR)
    else:
        pixels = _to_bgr(image)
    return _turn(pixels, 1 if header.format == 'TIFF' else header.orientation), notes


def _deep_colours(data: bytes, header: Header) -> np.ndarray | None:
    """Return colours (H, W, 3) uint16 BGR, rotated; Pillow keeps only their upper 8 bits. None: OpenCV fails."""
    values = _by_opencv(data, cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16 or values.ndim != 3 or values.shape[2] < 3:
        return None
    if header.format == 'PNG':
        values = _turn(values, header.orientation)  # OpenCV always rotates a TIFF itself.
    return np.ascontiguousarray(values[:, :, :3]) if values.shape[:2] == header.size else None


def pillow_to_bgr(image: Image.Image) -> np.ndarray:
    """Return a PIL image as (H, W, 3) uint8 BGR, rotated by its EXIF orientation; alpha is dropped.

    Raises:
        PhotoError: Its file cannot be read.
    """
    name = str(getattr(image, 'filename', '') or 'in memory')
    try:
        with plugin_errors(name), unlimited:
            # Before the orientation is read: a PNG may have it after its pixels, and Pillow rotates a TIFF on loading.
            image.load()
            pixels = _to_bgr(image.copy())
    except PhotoError as error:
        reason = f'PIL image {name} cannot be read ({error.detail}); open it anew.'
        raise PhotoError(reason, error.fault, error.detail) from error
    return _turn(pixels, 1 if image.format == 'TIFF' else exif_orientation(image.info.get('exif', b'')))


def _to_bgr(image: Image.Image) -> np.ndarray:
    image.info.pop('transparency', None)  # Otherwise Pillow warns that it is dropped.
    return cv2.cvtColor(np.asarray(image.convert('RGB')), cv2.COLOR_RGB2BGR)


def _all(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


def _by_opencv(data: bytes, flags: int) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError from error
        return None


def _eight_bits(values: np.ndarray, header: Header, bits: int | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the upper 8 of the ``bits`` of integers, the same for every photo, and notes for the user."""
    low, high = (int(bound) for bound in (values.min(), values.max()))
    used = header.bits if bits is None else bits
    notes = []
    if low < 0:
        notes.append(f'has values from {low} to {high}; those below 0 become black')
    if high >= 1 << used:
        notes.append(f'has values up to {high}; those of {1 << used} and more become white, as bits={used} says')
    elif 0 < high < 1 << (header.bits - 1) and bits is None:
        needed = max(high.bit_length(), 8)
        notes.append(
            f'has {header.bits} bits a channel and no value above {high}, so that it is dark when the upper 8 bits are '
            f"taken; if all photos of the set use {needed} bits, say bits={needed} in LoadPhoto in the config's "
            'pipelines'
        )
    if low < 0 or high >= 1 << used:
        values = np.clip(values, 0, (1 << used) - 1)
    return np.ascontiguousarray((values >> (used - 8)).astype(np.uint8)), tuple(notes)


def _turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return stored pixels as they are shown, according to the EXIF orientation."""
    if orientation in (2, 4):
        return cv2.flip(pixels, 1 if orientation == 2 else 0)
    if orientation in (5, 7):
        pixels = cv2.transpose(pixels)
        return pixels if orientation == 5 else cv2.flip(pixels, -1)
    turns = {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_CLOCKWISE, 8: cv2.ROTATE_90_COUNTERCLOCKWISE}
    return cv2.rotate(pixels, turns[orientation]) if orientation in turns else pixels


def _dropped(header: Header) -> tuple[str, ...]:
    """Return notes on what the pixels lack of the file; dropped alpha is not mentioned."""
    notes = []
    if header.format == 'TIFF' and header.bands > 3 and header.mode != 'CMYK' and not header.alpha:
        notes.append(f'has {header.bands} bands, of which the first three are read')
    if header.frames:
        notes.append('holds several pictures, of which the first is read')
    return tuple(notes)
