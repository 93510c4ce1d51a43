"""The data of a photo's header, whichever code reads it."""

from typing import NamedTuple

__all__ = ['Header', 'exif_orientation']

ORIENTATION = 0x0112
LONG = 4
"""A number of 4 bytes in EXIF; an orientation usually has 2."""


class Header(NamedTuple):
    """The data of a photo's header."""

    format: str
    """Pillow's name for the format."""
    size: tuple[int, int]
    """Height and width in pixels as the photo is shown, that is, rotated by its orientation."""
    orientation: int
    """1 to 8 as in EXIF."""
    mode: str
    """Pillow's name for its pixels."""
    bits: int = 8
    """Bits per channel; for signed values those of the positive ones (15 of 16)."""
    bands: int = 3
    """Channels of the file; a palette counts as one."""
    alpha: bool = False
    frames: bool = False
    """Whether the file holds several pictures."""
    tile: int = 0
    """Pixels of a TIFF's tile, which may be larger than the picture; decoders allocate a whole one."""

    @property
    def turned(self) -> bool:
        """Whether height and width of the stored pixels are swapped."""
        return self.orientation >= 5

    @property
    def stored_size(self) -> tuple[int, int]:
        """Height and width of the stored pixels."""
        return self.size[::-1] if self.turned else self.size

    @property
    def shows_its_end(self) -> bool:
        """Whether reading the header shows that the file is complete: a JPEG, or a PNG of 8 bits."""
        return self.format in ('JPEG', 'MPO') or (self.format == 'PNG' and self.bits <= 8)

    @property
    def pixels(self) -> int:
        """Height times width."""
        return self.size[0] * self.size[1]


def exif_orientation(exif: bytes) -> int:
    """Return the orientation in EXIF data; 1 if there is none or they are broken, which does not make a photo broken.

    Not with Pillow, which uses an XMP text if there is no EXIF; browsers and OpenCV do not.
    """
    exif = exif.removeprefix(b'Exif\0\0')
    order = 'little' if exif[:2] == b'II' else 'big'

    def number(start: int, length: int) -> int:
        return int.from_bytes(exif[start : start + length], order)  # type: ignore[arg-type]

    first = number(4, 4)
    for entry in range(first + 2, min(first + 2 + 12 * number(first, 2), len(exif)), 12):
        if number(entry, 2) == ORIENTATION:
            value = number(entry + 8, 4 if number(entry + 2, 2) == LONG else 2)
            return value if 1 <= value <= 8 else 1
    return 1
