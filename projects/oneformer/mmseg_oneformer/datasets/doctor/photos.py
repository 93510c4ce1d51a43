"""Photos: what their headers say, whether they are whole, and which of them are equal."""

import hashlib
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from ...files import file_digest
from .rules import Finding

__all__ = ['Photo', 'PhotoMark', 'identities', 'read_photo']

ORIENTATION = 0x0112
TAIL = 4096
"""Bytes at the end of a file in which the mark of its end has to be; some cameras write more behind it."""
HEAD = 26
"""Bytes of a PNG up to its number of bits a channel, which PIL does not tell."""
ENDS = {'JPEG': b'\xff\xd9', 'MPO': b'\xff\xd9', 'PNG': b'IEND'}


class PhotoMark(NamedTuple):
    """What tells photos apart without reading them: equal files have equal marks."""

    path: str
    bytes: int
    tail: int
    """Checksum of the last bytes of the file."""
    pixels: str = ''
    """Checksum of the decoded pixels; empty unless they were decoded."""


class Photo(NamedTuple):
    """What could be read of a photo."""

    size: tuple[int, int]
    """Height and width of the file, before turning by EXIF."""
    turned: bool
    """EXIF swaps height and width."""
    mark: PhotoMark
    findings: list[Finding]


def read_photo(path: str | Path, deep: bool = False) -> Photo | Finding:
    """Read the header and the end of a photo; all of it where ``deep``, or where the end looks cut off.

    Returns:
        The photo, or why it could not be read. Findings lack image and file.
    """
    path = Path(path)
    try:
        with path.open('rb') as file:
            length = file.seek(0, os.SEEK_END)
            if not length:
                return Finding('photo-damaged', 'is empty')
            file.seek(max(length - TAIL, 0))
            tail = file.read()
            file.seek(0)
            head = file.read(HEAD)
            try:
                with Image.open(file) as image:
                    orientation = _orientation(image)
                    if deep or ENDS.get(image.format or '', b'') not in tail:
                        image.load()
            except Exception as error:  # noqa: BLE001 (PIL raises whatever a damaged file makes of its parsers)
                return Finding('photo-damaged', f'cannot be decoded ({" ".join(str(error).split())})')
    except FileNotFoundError:
        return Finding('photo-missing', f'no file {path}')
    except OSError as error:
        return Finding('photo-damaged', f'cannot be read ({error.strerror})')
    mark = PhotoMark(str(path), length, zlib.crc32(tail), _pixels_digest(image) if deep else '')
    findings = list(_form(image, head, orientation))
    return Photo((image.height, image.width), orientation in (5, 6, 7, 8), mark, findings)


def _pixels_digest(image: Image.Image) -> str:
    digest = hashlib.sha256(f'{image.mode} {image.size}'.encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def _orientation(image: Image.Image) -> int:
    """1 to 8 as EXIF has it. PIL's own way decodes PNGs for it and believes XMP, which the loader does not."""
    exif = Image.Exif()
    exif.load(image.info.get('exif', b''))
    return int(exif.get(ORIENTATION, 1))


def _form(image: Image.Image, head: bytes, orientation: int) -> Iterator[Finding]:
    """Colours, bits and orientation that are not what most photos have."""
    if 1 < orientation <= 8:
        yield Finding('photo-exif', f'EXIF orientation {orientation}')
    if image.mode.startswith(('I', 'F')) or (image.format == 'PNG' and head[24] == 16):
        yield Finding('photo-16-bit', f'16 bits or more a channel, read as mode {image.mode}')
    if image.mode in ('L', '1'):
        yield Finding('photo-grey', 'greyscale')
    elif image.mode == 'CMYK':
        yield Finding('photo-cmyk', 'CMYK')
    elif image.mode in ('LA', 'RGBA', 'PA') or 'transparency' in image.info:
        yield Finding('photo-alpha', f'mode {image.mode} with alpha')


def identities(marks: Sequence[PhotoMark]) -> list[str]:
    """One text a photo, the same for equal photos: equal files or, where they were decoded, equal pixels.

    Only files whose length and end agree with another one's are read.
    """
    paths: dict[tuple[int, int], set[str]] = {}
    for mark in marks:
        paths.setdefault((mark.bytes, mark.tail), set()).add(mark.path)
    digests = {path: file_digest(path) for alike in paths.values() if len(alike) > 1 for path in alike}
    return [mark.pixels or digests.get(mark.path, mark.path) for mark in marks]
