"""The header of a photo of any format, read without decoding the photo."""

import io
import mmap
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from ..errors import MissingFileError
from .errors import PhotoError, damaged, plugin_errors, unsupported
from .form import Header, exif_orientation
from .ordinary import MAX_SCANS, ordinary_header, png_exif, whole_jpeg

__all__ = ['FORMATS', 'open_photo', 'opened', 'photo_size', 'read_header', 'unlimited']

FORMATS = ('JPEG', 'PNG', 'WEBP', 'BMP', 'TIFF', 'GIF', 'AVIF')
"""Formats of untrusted photos, in Pillow's names; other photos may have any that Pillow reads."""
DRAWINGS = ('EPS', 'WMF')
"""Formats that Pillow has other programs draw."""
WIDTH, LENGTH, BITS, ORIENTATION, SAMPLES, TILE_WIDTH, TILE_LENGTH, SAMPLE_FORMAT = (
    256,
    257,
    258,
    274,
    277,
    322,
    323,
    339,
)
"""Tags of TIFF."""
SIGNED = 2
PNG_DEPTH = 24
"""Position of a PNG's number of bits per channel, which Pillow does not provide."""


def read_header(path: str | Path) -> Header:
    """Read the header of a photo, and check whether a JPEG or PNG ends as it should.

    Raises:
        UserError: It does not exist or is not a supported photo.
    """
    with opened(path) as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            header = ordinary_header(data, str(path))
        if header is not None:
            return header
        with plugin_errors(str(path)), unlimited, io.BufferedReader(file) as buffered:
            return open_photo(buffered, str(path))[1]


def photo_size(path: str | Path) -> tuple[int, int]:
    """Return height and width of a photo as it is shown, from its header.

    Raises:
        UserError: It does not exist or is not a supported photo.
    """
    return read_header(path).size


@contextmanager
def opened(path: str | Path) -> Iterator[io.FileIO]:
    """Open the file of a photo.

    Raises:
        UserError: It does not exist, is a folder or empty, or cannot be read.
    """
    try:
        # Not a Path, nor a buffer: they cost 2 % of a photo's decoding, for every photo of a training.
        with open(path, 'rb', buffering=0) as file:  # noqa: PTH123
            if not os.fstat(file.fileno()).st_size:
                raise PhotoError(f'Image {path} is empty; copy it again.', 'damaged', 'is empty')
            yield file
    except FileNotFoundError as error:
        raise MissingFileError(f'Image {path} does not exist; put it there or correct the path.') from error
    except IsADirectoryError as error:
        raise PhotoError(f'{path} is not an image file.', 'unknown', 'is a folder') from error
    except OSError as error:
        raise PhotoError(f'Image {path} cannot be read ({error.strerror}).', 'damaged', str(error.strerror)) from error


class _Unlimited:
    """Lifts Pillow's own limit on pixels, which depends neither on the caller nor on free memory."""

    def __init__(self) -> None:
        self.lock, self.inside, self.saved = threading.Lock(), 0, Image.MAX_IMAGE_PIXELS

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                self.saved, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                Image.MAX_IMAGE_PIXELS = self.saved


unlimited = _Unlimited()
"""The context in which Pillow opens and decodes photos; it applies to all threads while one is in it."""


def open_photo(file: BinaryIO, name: str, stranger: bool = False) -> tuple[Image.Image, Header]:
    """Return Pillow's image, not yet decoded, and the header; to be called within ``plugin_errors`` and ``unlimited``.

    Args:
        file: At any position.
        name: How errors name the photo.
        stranger: Accept only :data:`FORMATS`.

    Raises:
        PhotoError: It is not a photo, unsupported, or cut off.
    """
    file.seek(0)
    head = file.read(PNG_DEPTH + 1)
    try:
        image = Image.open(file, formats=FORMATS if stranger else None)
    except UnidentifiedImageError as error:
        if head[:2] in (b'II', b'MM') and (form := _tiff_form(file)):
            raise unsupported(name, form) from None
        raise damaged(name, 'no known format', 'unknown') from error
    if image.format in ('PNG', 'JPEG', 'MPO'):
        _check_end(image, file, name, stranger)
    header = _header(image, head)
    if form := _not_a_photo(header):
        raise unsupported(name, form)
    if not header.pixels:
        raise damaged(name, 'it has no pixels')
    return image, header


def _check_end(image: Image.Image, file: BinaryIO, name: str, stranger: bool) -> None:
    """Raise a PhotoError if the file is cut off, and let a PNG's EXIF be found wherever it is."""
    place = file.tell()  # Pillow continues to read from here.
    file.seek(0)
    data = file.read()
    file.seek(place)
    if image.format == 'PNG':
        image.info['exif'] = exif = png_exif(data)
        is_whole = exif is not None
    else:
        is_whole = whole_jpeg(data, MAX_SCANS if stranger else None)
    if not is_whole:
        raise damaged(name, 'it is cut off')


def _header(image: Image.Image, head: bytes) -> Header:
    kind, mode, bands = image.format or '', image.mode, len(image.getbands())
    bits = 1 if mode == '1' else 16 if mode.startswith('I;16') else 32 if mode in ('I', 'F') else 8
    (width, height), tile = image.size, 0
    if kind == 'TIFF':
        tags = image.tag_v2  # type: ignore[attr-defined]
        # Not image.size: some versions of Pillow rotate it, others do not.
        width, height = int(tags.get(WIDTH, 0)), int(tags.get(LENGTH, 0))
        bits, bands = max(tags.get(BITS, (1,))), int(tags.get(SAMPLES, 1))
        bits -= bits == 16 and SIGNED in tags.get(SAMPLE_FORMAT, ())
        tile = int(tags.get(TILE_WIDTH, 0)) * int(tags.get(TILE_LENGTH, 0))
        orientation = tags.get(ORIENTATION, 1)
        orientation = orientation if orientation in range(1, 9) else 1
    else:
        orientation = exif_orientation(image.info.get('exif', b''))
    if kind == 'PNG':
        bits = head[PNG_DEPTH]
    elif kind == 'PPM' and mode == 'I':
        bits = 16  # Pillow spreads the values over 16 bits.
    alpha = 'A' in image.getbands() or 'transparency' in image.info
    # The second picture of a phone's JPEG is its depth or a thumbnail.
    frames = kind not in ('JPEG', 'MPO') and bool(getattr(image, 'is_animated', False))
    size = (width, height) if orientation >= 5 else (height, width)
    return Header(kind, size, orientation, mode, bits, bands, alpha, frames, tile)


def _not_a_photo(header: Header) -> str:
    """Return what is in the file instead of a photo's values, or ''."""
    if header.format in DRAWINGS:
        return 'drawing commands and no pixels'
    if header.mode == 'F':
        return f'{header.bits}-bit floating-point values'
    if header.mode == 'I' and header.bits > 16:
        return f'{header.bits}-bit integers'
    return f'colours of the form {header.mode}' if header.mode == 'LAB' else ''


def _tiff_form(file: BinaryIO) -> str:
    """Return the form of a TIFF that Pillow does not read, or '' if its tags cannot be read either."""
    try:
        file.seek(0)
        tags = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
        file.seek(tags.next)
        tags.load(file)
        bands, bits = int(tags[SAMPLES]), max(tags[BITS])
        kind = {2: 'signed bits', 3: 'bits in floating point'}.get(max(tags.get(SAMPLE_FORMAT, (1,))), 'bits')
        return f'{bands} band{"s" * (bands != 1)} of {bits} {kind}'
    except Exception:  # noqa: BLE001 (a broken file can cause any error, as in plugin_errors)
        return ''
