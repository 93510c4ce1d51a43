"""Names on segments: where there is room, as large as fits, never on top of each other."""

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .colors import Color

Array = np.ndarray
Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""


@lru_cache(maxsize=64)
def font(height: int) -> ImageFont.FreeTypeFont:
    """Return the bold sans font that comes with matplotlib, so that pictures are the same on every machine."""
    import matplotlib  # only for its font

    path = Path(matplotlib.get_data_path()) / 'fonts/ttf/DejaVuSans-Bold.ttf'
    return ImageFont.truetype(str(path), height)


def widest_place(mask: Array, aspect: float, enough: float = float('inf')) -> tuple[float, float, float]:
    """Find the point of a mask with the most room around it for a text ``aspect`` times as wide as high.

    The mask is squeezed along its width first, so that the largest inner circle stands for a horizontal ellipse. Of the
    points with ``enough`` room the one nearest to the middle is taken.

    Args:
        mask: (H, W) bool.
        aspect: Width over height of the text.
        enough: Half the height, in pixels, that is enough.

    Returns:
        x, y and half the height, in pixels, that fits there; 0 for an empty mask, and for one so thin that nothing is
        left of it when it is squeezed.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return 0.0, 0.0, 0.0
    top, left = int(rows[0]), int(columns[0])
    part = mask[top : rows[-1] + 1, left : columns[-1] + 1].astype(np.uint8)
    width = max(1, round(part.shape[1] / aspect))
    squeezed = cv2.resize(part, (width, part.shape[0]), interpolation=cv2.INTER_AREA)
    if not squeezed.any():
        return 0.0, 0.0, 0.0
    distance = cv2.distanceTransform(np.pad(squeezed, 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    ys, xs = np.nonzero(distance >= min(enough, 0.98 * float(distance.max())))
    middle_y, middle_x = (float(positions.mean()) for positions in np.nonzero(squeezed))
    nearest = np.hypot(ys - middle_y, (xs - middle_x) * aspect).argmin()
    y, x = int(ys[nearest]), int(xs[nearest])
    return left + (x + 0.5) * part.shape[1] / width, top + y + 0.5, float(distance[y, x])


class TextLayer:
    """Texts with a halo on one picture; a text that would cover an earlier one moves or is left out."""

    def __init__(self, picture: Array, unit: float) -> None:
        """Start from ``picture`` (H, W, 3) uint8 RGB; ``unit`` is the size of a pixel of a 480-pixel picture."""
        self._image = Image.fromarray(picture)
        self._draw = ImageDraw.Draw(self._image)
        self._unit = unit
        self._taken: list[Box] = []

    def label(self, text: str, mask: Array, color: Color) -> bool:
        """Write ``text`` at the roomiest place of ``mask`` (H, W) bool.

        Args:
            text: The text to write.
            mask: Where to write, roughly.
            color: Of the letters.

        Returns:
            Whether there was room.
        """
        smallest, largest = max(9, round(11 * self._unit)), max(10, round(21 * self._unit))
        x, y, room = widest_place(mask, max(1.0, 0.62 * len(text)), enough=largest)
        height = round(min(largest, 1.5 * room))
        if height < smallest:
            if 1.5 * room < 0.55 * smallest:
                return False
            height = smallest
        for size in dict.fromkeys((height, smallest)):
            for shift in (0.0, -1.2, 1.2, -2.4, 2.4):
                box = self._box(text, x, y + shift * size, size)
                if not any(_overlap(box, other) for other in self._taken):
                    self._write(text, box, size, color)
                    self._taken.append(box)
                    return True
        return False

    def picture(self) -> Array:
        """Return the picture (H, W, 3) uint8 RGB with all texts."""
        return np.array(self._image)

    def _box(self, text: str, x: float, y: float, size: int) -> Box:
        """Return the box of a text centred at (x, y), moved into the picture."""
        margin = size * 0.18
        half_width, half_height = self._draw.textlength(text, font=font(size)) / 2 + margin, size * 0.62
        x = min(max(x, half_width), self._image.width - half_width)
        y = min(max(y, half_height), self._image.height - half_height)
        return x - half_width, y - half_height, x + half_width, y + half_height

    def _write(self, text: str, box: Box, size: int, color: Color) -> None:
        self._draw.text(
            ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2),
            text,
            font=font(size),
            fill=color,
            anchor='mm',
            stroke_width=max(1, round(size * 0.14)),
            stroke_fill=(12, 14, 20),
        )


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
