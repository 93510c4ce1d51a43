"""Several pictures on one page: the three predictions side by side, or every prediction under every token."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from ..errors import UserError
from .text import font

Array = np.ndarray

_PAPER, _INK, _FAINT = (255, 255, 255), (28, 32, 40), (108, 116, 128)
LONGEST = 8
"""Width over height up to which a picture is enlarged."""


def panel(pictures: Mapping[str, Array], columns: int | None = None, height: int | None = None) -> Array:
    """Put titled pictures side by side, in their order.

    Args:
        pictures: RGB uint8 pictures (H, W, 3) by title; all are resized to one height.
        columns: Pictures in a row; all by default.
        height: Height of each picture in pixels; that of the tallest by default.

    Returns:
        The page, (H, W, 3) uint8 RGB.

    Raises:
        UserError: If there is no picture.
    """
    if not pictures:
        raise UserError('A panel needs at least one picture; none was given.')
    columns = columns or len(pictures)
    titles, images = list(pictures), list(pictures.values())
    rows = [images[start : start + columns] for start in range(0, len(images), columns)]
    names = [titles[start : start + columns] for start in range(0, len(titles), columns)]
    return _page(rows, names, [''] * len(rows), height or max(image.shape[0] for image in images))


def token_panel(pictures: Mapping[str, Mapping[str, Array]], height: int | None = None) -> Array:
    """Draw the matrix of every prediction under every token: a row for each token, a column for each prediction.

    Args:
        pictures: ``pictures[token][task]``, RGB uint8 (H, W, 3).
        height: Height of each picture in pixels; that of the tallest by default.

    Returns:
        The page, (H, W, 3) uint8 RGB.

    Raises:
        UserError: If there is no picture, or the rows differ in their predictions.
    """
    rows = {
        f'{token} token': {f'{task} prediction': image for task, image in row.items()}
        for token, row in pictures.items()
    }
    return grid(rows, height)


def grid(pictures: Mapping[str, Mapping[str, Array]], height: int | None = None) -> Array:
    """Draw rows of pictures: a text at the side of each, titles above the first.

    Args:
        pictures: ``pictures[row][column]``, RGB uint8 (H, W, 3); the same columns in each row.
        height: Height of each picture in pixels; that of the tallest by default.

    Returns:
        The page, (H, W, 3) uint8 RGB.

    Raises:
        UserError: If there is no picture, or the rows differ in their columns.
    """
    columns = [list(row) for row in pictures.values()]
    if not columns or not columns[0]:
        raise UserError('A page needs at least one picture; none was given.')
    if any(row != columns[0] for row in columns):
        raise UserError(f'Each row needs the same pictures in the same order; got {columns}.')
    rows = [list(row.values()) for row in pictures.values()]
    titles = [columns[0]] + [[''] * len(columns[0])] * (len(rows) - 1)
    return _page(rows, titles, list(pictures), height or max(image.shape[0] for row in rows for image in row))


def _page(rows: Sequence[Sequence[Array]], titles: Sequence[Sequence[str]], sides: Sequence[str], height: int) -> Array:
    """Lay out rows of pictures with a title above each and a text along the left side of each row."""
    letters = max(12, round(height * 0.045))
    gap, bar = max(6, round(height * 0.02)), round(letters * 1.9)
    side = bar if any(sides) else 0
    fitted = [[_to_height(image, height) for image in row] for row in rows]
    count = max(len(row) for row in fitted)
    widths = [max(row[k].shape[1] for row in fitted if k < len(row)) for k in range(count)]
    bars = [bar if any(names) else 0 for names in titles]
    page = Image.new(
        'RGB',
        (gap + side + sum(width + gap for width in widths), gap + sum(top + height + gap for top in bars)),
        _PAPER,
    )
    draw, y = ImageDraw.Draw(page), gap
    for row, names, text, top in zip(fitted, titles, sides, bars):
        x = gap + side
        for image, name, width in zip(row, names, widths):
            draw.text((x + width / 2, y + top / 2), name, font=font(letters), fill=_INK, anchor='mm')
            middle = x + (width - image.shape[1]) // 2, y + top + (height - image.shape[0]) // 2
            page.paste(Image.fromarray(image), middle)
            x += width + gap
        if text:
            strip = Image.new('RGB', (height, side), _PAPER)
            ImageDraw.Draw(strip).text((height / 2, side / 2), text, font=font(letters), fill=_FAINT, anchor='mm')
            page.paste(strip.rotate(90, expand=True), (gap, y + top))
        y += top + height + gap
    return np.array(page)


def _to_height(image: Array, height: int) -> Array:
    """Resize a picture to a height, keeping its proportions; a very wide one stays lower, to limit memory."""
    scale = height / image.shape[0]
    if scale > 1:
        scale = max(1.0, min(scale, LONGEST * height / image.shape[1]))
    if scale == 1:
        return image
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
