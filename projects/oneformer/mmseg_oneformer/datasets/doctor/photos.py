"""Photos: what their headers say, whether they are whole, and which of them are equal."""

import hashlib
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...errors import MissingFileError
from ...files import file_digest
from ...photos.decoding import decode_photo
from ...photos.errors import PhotoError
from ...photos.form import Header
from ...photos.header import read_header
from .rules import Finding

__all__ = ['Photo', 'PhotoMark', 'identities', 'read_photo']

TAIL = 4096
"""Bytes at the end of a file that tell it from others of its length."""


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
    """Height and width as it is shown, behind its orientation."""
    turned: bool
    """The orientation swaps height and width."""
    mark: PhotoMark
    findings: list[Finding]


def read_photo(path: str | Path, deep: bool = False) -> Photo | Finding:
    """Read the header and the end of a photo, by the code that loads it; all of it where ``deep``.

    The ends of JPEGs and PNGs tell whether they are whole; other photos are decoded for it.

    Returns:
        The photo, or why it could not be read. Findings lack image and file.
    """
    try:
        header = read_header(path)
        decoded = decode_photo(path) if deep or not header.shows_its_end else None
        with Path(path).open('rb') as file:
            length = file.seek(0, os.SEEK_END)
            file.seek(max(length - TAIL, 0))
            tail = file.read()
    except MissingFileError:
        return Finding('photo-missing', f'no file {path}')
    except PhotoError as error:
        return Finding('photo-damaged', f'cannot be read ({error.detail or error})')
    except OSError as error:
        return Finding('photo-damaged', f'cannot be read ({error.strerror})')
    digest = _pixels_digest(decoded.pixels) if decoded is not None and deep else ''
    mark = PhotoMark(str(path), length, zlib.crc32(tail), digest)
    return Photo(header.size, header.turned, mark, list(_form(header, decoded.notes if decoded else ())))


def _pixels_digest(pixels: np.ndarray) -> str:
    digest = hashlib.sha256(str(pixels.shape).encode())
    digest.update(pixels.data)
    return digest.hexdigest()


def _form(header: Header, notes: Sequence[str]) -> Iterator[Finding]:
    """Colours, bits and orientation that are not what most photos have."""
    if header.orientation > 1:
        yield Finding('photo-exif', f'EXIF orientation {header.orientation}')
    if header.bits > 8:
        told = '; '.join(note for note in notes if 'value' in note)
        yield Finding('photo-16-bit', told or f'{header.bits} bits a channel')
    if header.mode in ('L', '1'):
        yield Finding('photo-grey', 'greyscale')
    elif header.mode == 'CMYK':
        yield Finding('photo-cmyk', 'CMYK')
    elif header.alpha:
        yield Finding('photo-alpha', f'mode {header.mode} with alpha')
    for note in notes:
        if 'first' in note:
            yield Finding('photo-more', note)


def identities(marks: Sequence[PhotoMark]) -> list[str]:
    """One text a photo, the same for equal photos: equal files or, where they were decoded, equal pixels.

    Only files whose length and end agree with another one's are read.
    """
    paths: dict[tuple[int, int], set[str]] = {}
    for mark in marks:
        paths.setdefault((mark.bytes, mark.tail), set()).add(mark.path)
    digests = {path: file_digest(path) for alike in paths.values() if len(alike) > 1 for path in alike}
    return [mark.pixels or digests.get(mark.path, mark.path) for mark in marks]
