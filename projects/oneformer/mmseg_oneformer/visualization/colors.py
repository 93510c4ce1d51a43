"""Colours of classes, and shades of them for the instances of one class."""

import colorsys
from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import UserError

Color = tuple[int, int, int]
"""Red, green, blue, each 0-255."""

_GOLDEN = 0.618033988749895
"""The golden ratio: multiples of it, modulo 1, are spread evenly however many are taken."""

_PLASTIC = 0.7548776662466927
"""The same for the second of two coordinates (R2 sequence)."""


def class_colors(num_classes: int, palette: Sequence[Sequence[int]] | None = None) -> list[Color]:
    """Return a colour for each class: those of ``palette``, or well spread hues in three tones.

    Raises:
        UserError: If the palette is too short.
    """
    if palette is None:
        tones = ((0.55, 0.75), (0.70, 0.65), (0.42, 0.80))
        return [_from_hls(k * _GOLDEN, *tones[k % len(tones)]) for k in range(num_classes)]
    if len(palette) < num_classes:
        raise UserError(f'The palette has {len(palette)} colours for {num_classes} classes; add the missing ones.')
    return [(int(r), int(g), int(b)) for r, g, b in palette[:num_classes]]


def palette_colors(dataset_meta: Mapping[str, Any]) -> list[Color]:
    """Return the colours of a data set's ``classes``: its ``palette``, or else :func:`class_colors` of their number.

    mmdet's metas may name a palette ('random') instead of having one.
    """
    palette = dataset_meta.get('palette')
    return class_colors(len(dataset_meta['classes']), None if isinstance(palette, str) else palette)


def instance_color(color: Color, index: int) -> Color:
    """Return the shade of a class colour for its ``index``-th instance: another tone, with a similar hue.

    Instance 0 has the class colour itself. Greys, which have no hue, differ only in tone.
    """
    if index == 0:
        return color
    hue, light, saturation = colorsys.rgb_to_hls(*(value / 255 for value in color))
    # Two incommensurable steps, so that tone and hue do not repeat together; tones wrap around inside 0.34-0.78.
    hue += ((index * _PLASTIC) % 1 - 0.5) * 0.26
    light = 0.34 + 0.44 * (((light - 0.34) / 0.44 + index * _GOLDEN) % 1)
    return _from_hls(hue, light, min(1.0, max(saturation, 0.55)) if saturation > 0.08 else saturation)


def shades(
    labels: Sequence[int],
    masks: Sequence[np.ndarray],
    things: Container[int],
    colors: Sequence[Color],
    unsure: Container[int] = (),
) -> list[Color]:
    """Return the colour of each segment of a photo: stuff has its class's, the things of a class have shades of it.

    Shades are assigned from left to right, not by score or query, so that an object has the same colour in all
    predictions for a photo.

    Args:
        labels: (n,) class indices.
        masks: n masks (H, W) bool.
        things: Which of the n are things.
        colors: Of the classes.
        unsure: Which of the n get the shades that the others leave.
    """
    found, count = [colors[label] for label in labels], dict.fromkeys(labels, 0)
    for k in sorted(range(len(labels)), key=lambda k: (k in unsure, _center(masks[k]))):
        if k in things:
            found[k] = instance_color(colors[labels[k]], count[labels[k]])
            count[labels[k]] += 1
    return found


def lighten(color: Color, amount: float) -> Color:
    """Mix a colour with white, for ``amount`` in [0, 1], or with black, for ``amount`` in [-1, 0]."""
    target = 255 if amount > 0 else 0
    red, green, blue = (round(value + (target - value) * abs(amount)) for value in color)
    return red, green, blue


def _center(mask: np.ndarray) -> float:
    """Return the mean column of a mask (H, W) bool."""
    pixels = mask.sum(0)
    return float((pixels * np.arange(len(pixels))).sum() / max(1, pixels.sum()))


def _from_hls(hue: float, light: float, saturation: float) -> Color:
    red, green, blue = (round(255 * value) for value in colorsys.hls_to_rgb(hue % 1, light, saturation))
    return red, green, blue
