"""What a photo says of itself, whoever reads it."""

from typing import NamedTuple

__all__ = ['Header', 'exif_orientation']

ORIENTATION = 0x0112
LONG = 4
"""A number of 4 bytes in EXIF; an orientation has 2 as a rule."""


class Header(NamedTuple):
    """What a photo says of itself."""

    format: str
    """In Pillow's names."""
    size: tuple[int, int]
    """Height and width in pixels as the photo is shown, that is turned by its orientation."""
    orientation: int
    """1 to 8 as EXIF has it."""
    mode: str
    """Pillow's name for its pixels."""
    bits: int = 8
    """A channel; of signed values those of the positive ones (15 of 16)."""
    bands: int = 3
    """Channels of the file; a palette is one."""
    alpha: bool = False
    frames: bool = False
    """There are more pictures in the file."""
    tile: int = 0
    """Pixels of a TIFF's tile, which may be larger than the picture; decoders make room for a whole one."""

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
        """Whether it was seen in the header's reading that the file is whole: a JPEG, or a PNG of 8 bits."""
        return self.format in ('JPEG', 'MPO') or (self.format == 'PNG' and self.bits <= 8)

    @property
    def pixels(self) -> int:
        """Height times width."""
        return self.size[0] * self.size[1]


def exif_orientation(exif: bytes) -> int:
    """Return the orientation that EXIF data state; 1 if they state none or are broken, which breaks no photo.

    Not by Pillow, which goes by an XMP text where there is no EXIF; browsers and OpenCV do not.
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
