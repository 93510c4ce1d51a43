"""Attention over a photo: heat where a query attends, dots where a position samples."""

from collections.abc import Sequence

import cv2
import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw

from .colors import Color
from .overlay import SHORT_SIDE, enlarge
from .text import font

Array = np.ndarray

LEVEL_COLORS: tuple[Color, ...] = ((255, 99, 72), (255, 209, 60), (72, 219, 251))
"""Colours of the levels in which points are sampled, the coarsest first."""


def cells_of(grid_shape: tuple[int, int], size: tuple[int, int], covered: tuple[float, float]) -> tuple[Array, Array]:
    """Return row (H, 1) and column (1, W) of the cell that each pixel of a photo is in.

    Args:
        grid_shape: Rows and columns of the cells.
        size: Height and width of the photo.
        covered: Shares of the grid's height and width, in 0..1, that the photo covers from its top left corner; the
            rest is padding.
    """
    rows, columns = (
        np.minimum((np.arange(pixels) + 0.5) / pixels * share * count, count - 1).astype(np.intp)
        for count, pixels, share in zip(grid_shape, size, covered)
    )
    return rows[:, None], columns[None]


def draw_heat(image: Array, weights: Array, allowed: Array, covered: tuple[float, float]) -> Array:
    """Draw where a query attends: bright cells, and a line around those to which it may attend.

    Args:
        image: The photo, (H, W, 3) uint8 RGB.
        weights: (h, w) of the cells, with the sum 1; the brightest is the largest.
        allowed: (h, w) bool.
        covered: As for :func:`cells_of`.

    Returns:
        The picture, at least 480 pixels high and wide.
    """
    picture, _ = enlarge(image)
    unit = min(picture.shape[:2]) / SHORT_SIDE
    cells = cells_of((weights.shape[0], weights.shape[1]), picture.shape[:2], covered)
    seen, peak = weights[cells], float(weights.max())
    strength = (seen / max(peak, 1e-12))[..., None] ** 0.5  # otherwise all but the brightest would be black
    heat = colormaps['inferno'](0.25 + 0.75 * strength[..., 0])[..., :3] * 255
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB) * 0.55
    canvas = (grey * (1 - 0.7 * strength) + heat * 0.7 * strength).clip(0, 255).astype(np.uint8)
    contours, _ = cv2.findContours(allowed[cells].astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, contours, -1, (255, 255, 255), max(1, round(1.4 * unit)), cv2.LINE_AA)
    share = f'{100 * peak:.2g}%' if peak < 0.1 else f'{peak:.0%}'
    return _with_caption(canvas, [(f'up to {share}', (255, 255, 255))])


def draw_points(
    image: Array, position: tuple[float, float], locations: Array, weights: Array, names: Sequence[str]
) -> Array:
    """Draw where a position samples: a cross there, and dots in the colour of their level with the weight as area.

    Args:
        image: The photo, (H, W, 3) uint8 RGB.
        position: (x, y) in pixels of the photo.
        locations: (heads, levels, points, 2), (x, y) in pixels of the photo; those outside are not drawn.
        weights: (heads, levels, points), with the sum 1 for each head.
        names: Of the levels.

    Returns:
        The picture, at least 480 pixels high and wide.
    """
    picture, scale = enlarge(image)
    unit = min(picture.shape[:2]) / SHORT_SIDE
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    canvas = cv2.addWeighted(picture, 0.35, grey, 0.25, 0)
    shares = weights.sum(axis=(0, 2)) / len(weights)
    for index in np.argsort(-weights, axis=None):  # the small ones on top
        head, level, point = np.unravel_index(index, weights.shape)
        x, y = (round(16 * float(value) * scale) for value in locations[head, level, point])
        # Half a head's weight in one dot is a disc of 35 pixels; one of no weight stays visible.
        radius = unit * max(2.0, 50 * float(weights[head, level, point]) ** 0.5)
        if 0 <= x < 16 * picture.shape[1] and 0 <= y < 16 * picture.shape[0]:
            color = LEVEL_COLORS[int(level) % len(LEVEL_COLORS)]
            cv2.circle(canvas, (x, y), round(16 * radius), color, -1, cv2.LINE_AA, 4)
            cv2.circle(canvas, (x, y), round(16 * radius), (20, 22, 28), max(1, round(unit)), cv2.LINE_AA, 4)
    center = (round(position[0] * scale), round(position[1] * scale))
    for color, thickness in (((20, 22, 28), 5), ((255, 255, 255), 2)):
        cv2.drawMarker(canvas, center, color, cv2.MARKER_CROSS, round(22 * unit), max(1, round(thickness * unit)))
    caption = [(f'{name} {share:.0%}', color) for name, share, color in zip(names, shares, LEVEL_COLORS)]
    return _with_caption(canvas, caption)


def _with_caption(canvas: Array, parts: Sequence[tuple[str, Color]]) -> Array:
    """Write coloured texts along the lower border."""
    image = Image.fromarray(canvas)
    draw, letters = ImageDraw.Draw(image), max(12, round(min(canvas.shape[:2]) * 0.045))
    x, y = 0.6 * letters, canvas.shape[0] - 0.6 * letters
    for text, color in parts:
        style = {'font': font(letters), 'anchor': 'ls', 'stroke_width': max(1, letters // 8)}
        draw.text((x, y), text, fill=color, stroke_fill=(12, 14, 20), **style)
        x += draw.textlength(text, font=font(letters)) + letters
    return np.array(image)
