"""Numbered boxes on a picture, around places of interest."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from .colors import Color
from .overlay import SHORT_SIDE
from .text import font

Box = tuple[int, int, int, int]

COLOR: Color = (40, 120, 255)


def draw_boxes(picture: np.ndarray, boxes: Sequence[Box], size: tuple[int, int]) -> np.ndarray:
    """Draw boxes with their numbers, from 1.

    Args:
        picture: (H', W', 3) uint8 RGB.
        boxes: Left, top, right, bottom in pixels of the photo, right and bottom one past the last.
        size: Height and width of the photo, of which the picture may be an enlargement.

    Returns:
        A copy of the picture, with the boxes.
    """
    unit = min(picture.shape[:2]) / SHORT_SIDE
    scale = np.array([picture.shape[1] / size[1], picture.shape[0] / size[0]] * 2)
    margin, letters = round(3 * unit), max(12, round(20 * unit))
    places = []
    canvas = picture.copy()
    for box in boxes:
        left, top, right, bottom = (np.array(box) * scale).round().astype(int).tolist()
        left, top = max(margin, left - margin), max(margin, top - margin)
        right = min(canvas.shape[1] - 1 - margin, right + margin)
        bottom = min(canvas.shape[0] - 1 - margin, bottom + margin)
        cv2.rectangle(canvas, (left, top), (right, bottom), (255, 255, 255), max(3, round(5 * unit)))
        cv2.rectangle(canvas, (left, top), (right, bottom), COLOR, max(1, round(3 * unit)))
        places.append((left, top))
    page = Image.fromarray(canvas)
    draw = ImageDraw.Draw(page)
    for number, (left, top) in enumerate(places, start=1):
        side = round(1.3 * letters)
        draw.rectangle((left, top, left + side, top + side), fill=COLOR)
        draw.text((left + side / 2, top + side / 2), str(number), font=font(letters), fill='white', anchor='mm')
    return np.array(page)
