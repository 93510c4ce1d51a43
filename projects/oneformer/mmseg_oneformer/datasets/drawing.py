"""Draws landscapes with simple objects: pictures with exact labels for people without data.

Decisions:
* Stuff is recognised by texture (clouds, blades, waves), things by outline (circle, square, triangle, star); colours,
  positions, sizes and light vary, so that neither colour nor position is enough to recognise a class.
* Every segment stays large. A small network trained for minutes should find all of them, so an object that would leave
  only a sliver of itself or of another segment is placed again.
* Shapes are signed distance fields: one field gives the outline, its antialiasing, the shading and the shadow.

Pictures are float32 (H, W, 3) RGB in 0..1 until the end; lengths are in picture heights.
"""

import colorsys
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

__all__ = ['STUFF', 'THINGS', 'Scene', 'draw_scene']

STUFF = ('sky', 'grass', 'water')
THINGS = ('ball', 'box', 'cone', 'star')
MIN_THING_AREA, MIN_STUFF_AREA = 0.025, 0.06
"""Minimum share of the picture that a segment covers."""
MIN_VISIBLE = 0.6
"""Minimum share of an object that others leave visible."""

Field = np.ndarray


class Scene(NamedTuple):
    """A picture and its segments.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        segment_map: (H, W) int32, k = segment k from 1; there is no void.
        names: Class name of each segment; that of segment k is at k - 1.
    """

    image: np.ndarray
    segment_map: np.ndarray
    names: list[str]


def draw_scene(size: int, rng: np.random.Generator) -> Scene:
    """Draw one square picture of ``size`` pixels; the same generator state gives the same picture."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size + np.float32(0.5 / size)
    image, segment_map, names = _landscape(rng, x, y)
    light = np.array([rng.choice([-1, 1]) * rng.uniform(0.35, 0.7), -rng.uniform(0.5, 0.8), 0.0])
    light[2] = np.sqrt(1 - (light[:2] ** 2).sum().clip(0, 0.9))
    image, segment_map = _place_things(rng, x, y, image, segment_map, names, light)
    vignette = 1.06 - 0.25 * ((x - 0.5) ** 2 + (y - 0.5) ** 2)
    image = image * vignette[..., None] + rng.normal(0, 0.012, image.shape).astype(np.float32)
    return Scene((image.clip(0, 1) * 255 + 0.5).astype(np.uint8), segment_map, names)


# ---- stuff


def _noise(rng: np.random.Generator, size: int, rows: int, columns: int) -> Field:
    """Smooth noise (size, size) in about -1..1 with ``rows`` x ``columns`` bumps."""
    grid = rng.uniform(-1, 1, (rows + 2, columns + 2)).astype(np.float32)
    return cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)


def _fractal(rng: np.random.Generator, size: int, rows: int, columns: int) -> Field:
    """Three octaves of ``_noise``, which look like clouds."""
    octaves = [_noise(rng, size, rows << octave, columns << octave) * 0.55**octave for octave in range(3)]
    return octaves[0] + octaves[1] + octaves[2]


def _rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    return np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, value), dtype=np.float32)


def _mix(below: np.ndarray, above: np.ndarray, alpha: Field) -> np.ndarray:
    """Blend ``above`` over ``below`` by ``alpha`` (H, W)."""
    return below + (above - below) * alpha[..., None]


def _sky(rng: np.random.Generator, x: Field, y: Field, tone: float) -> np.ndarray:
    """A sky from a deep top to a pale horizon, with soft clouds; ``tone`` 0..1 goes from noon to dusk."""
    top = _rgb(rng.uniform(0.56, 0.64) + 0.15 * tone, rng.uniform(0.35, 0.65), rng.uniform(0.65, 0.95) - 0.25 * tone)
    low = _rgb(0.57 - 0.5 * tone, 0.12 + 0.4 * tone, rng.uniform(0.9, 1.0))
    image = _mix(top * np.ones((*x.shape, 1), np.float32), low, (y / 0.5).clip(0, 1))
    clouds = ((_fractal(rng, len(x), 6, 2) + rng.uniform(-0.5, 0.25)) * 1.4).clip(0, 1)
    return _mix(image, np.array([1.0, 0.98 - 0.1 * tone, 0.97 - 0.2 * tone], np.float32), 0.8 * clouds)


def _grass(rng: np.random.Generator, x: Field, y: Field, tone: float) -> np.ndarray:
    """Upright blades over lighter and darker patches."""
    size = len(x)
    base = _rgb(rng.uniform(0.19, 0.36), rng.uniform(0.45, 0.75), rng.uniform(0.4, 0.65) - 0.1 * tone)
    blades = _noise(rng, size, size // 6, size // 2) + 0.6 * _noise(rng, size, size // 3, size)
    return base * (1 + 0.22 * _noise(rng, size, 3, 3) + 0.34 * blades)[..., None]


def _water(rng: np.random.Generator, x: Field, y: Field, tone: float) -> np.ndarray:
    """Level waves that grow towards the front, with glints."""
    size = len(x)
    base = _rgb(rng.uniform(0.48, 0.62), rng.uniform(0.45, 0.75), rng.uniform(0.4, 0.7) - 0.1 * tone)
    depth = rng.uniform(9, 14) * np.log(y + 0.12) + 0.55 * _noise(rng, size, 5, 3)
    waves = np.sin(2 * np.pi * depth + rng.uniform(0, 6.28))
    image = base * (1 + 0.24 * waves)[..., None]
    glints = ((waves - 0.55) * 1.6 + 0.8 * _noise(rng, size, size // 4, 8)).clip(0, 1)
    return _mix(image, np.array([1.0, 1 - 0.15 * tone, 1 - 0.3 * tone], np.float32), 0.45 * glints)


def _landscape(rng: np.random.Generator, x: Field, y: Field) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Sky over grass, over water, or over both with a curved shore."""
    size, tone = len(x), rng.uniform() ** 2
    image = _sky(rng, x, y, tone)
    segment_map = np.ones(x.shape, np.int32)
    names = ['sky']
    wave = rng.uniform(0.01, 0.05) * np.sin(2 * np.pi * (rng.uniform(0.4, 1.3) * x + rng.uniform()))
    below = y - rng.uniform(0.26, 0.46) - wave
    grounds = [('grass', 'water'), ('water', 'grass'), ('grass',), ('water',)][rng.choice(4, p=[0.3, 0.3, 0.2, 0.2])]
    for number, name in enumerate(grounds):
        region = below
        if number:
            angle = rng.uniform(0.25, np.pi - 0.25)
            along = np.cos(angle) * (y - 0.65) - np.sin(angle) * (x - 0.5)
            across = np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - rng.uniform(0.62, 0.72))
            shore = across + 0.035 * np.sin(2 * np.pi * (rng.uniform(0.8, 1.6) * along + rng.uniform()))
            region = np.minimum(below, shore)
            if min((region > 0).mean(), ((below > 0) & (region <= 0)).mean()) < 2 * MIN_STUFF_AREA:
                continue
        texture = (_grass if name == 'grass' else _water)(rng, x, y, tone)
        image = _mix(image, texture, (region * size + 0.5).clip(0, 1))
        names.append(name)
        segment_map[region > 0] = len(names)
    return image, segment_map, names


# ---- things: distance fields and shading in the object's own frame (u, v), whose radius is 1


def _ball(u: Field, v: Field) -> Field:
    return np.sqrt(u * u + v * v) - 0.95


def _box(u: Field, v: Field) -> Field:
    a, b = np.abs(u) - 0.72, np.abs(v) - 0.72
    return np.sqrt(np.maximum(a, 0) ** 2 + np.maximum(b, 0) ** 2) + np.minimum(np.maximum(a, b), 0) - 0.08


def _cone(u: Field, v: Field) -> Field:
    """Triangle with the tip up (v = -1.1) and a base of 2 x 0.95 at v = 0.8."""
    normal = np.hypot(1.9, 0.95)
    return np.maximum((1.9 * np.abs(u) - 0.95 * (v + 1.1)) / normal, v - 0.8)


def _star(u: Field, v: Field) -> Field:
    """Five fat, rounded arms; the field is folded onto half an arm."""
    u, v = np.abs(u), -v
    for side in (1, -1):
        k = np.array([side * 0.80901699, -0.58778525], np.float32)
        fold = 2 * np.maximum(k[0] * u + k[1] * v, 0)
        u, v = u - fold * k[0], v - fold * k[1]
    u, v = np.abs(u), v - 1.08
    arm = np.array([0.58778525 * 0.62, 0.80901699 * 0.62 - 1.0], np.float32)
    t = ((u * arm[0] + v * arm[1]) / (arm**2).sum()).clip(0, 1.08)
    return np.hypot(u - arm[0] * t, v - arm[1] * t) * np.sign(v * arm[0] - u * arm[1]) - 0.07


def _relief(name: str, u: Field, v: Field, field: Field) -> tuple[Field, Field]:
    """Surface slope to the right and downwards, in the object's frame."""
    if name == 'ball':
        return u, v
    if name == 'cone':
        half_width = 0.5 * np.maximum(v + 1.1, 0.1)
        return 0.95 * (u / half_width).clip(-1, 1), np.zeros_like(v)
    if name == 'box':
        bevel = (np.maximum(np.abs(u), np.abs(v)) > 0.58) * 0.7
        across = np.abs(u) > np.abs(v)
        return bevel * across * np.sign(u), bevel * ~across * np.sign(v)
    facet = np.floor(np.arctan2(u, -v) * (5 / np.pi)) + 0.5
    turn = (facet + np.where(facet % 2 < 1, 1.1, -1.1)) * (np.pi / 5)
    return 0.75 * np.sin(turn), -0.75 * np.cos(turn)


FIELDS: dict[str, Callable[[Field, Field], Field]] = {'ball': _ball, 'box': _box, 'cone': _cone, 'star': _star}


class _Thing(NamedTuple):
    """An object's outline: ``field`` is its signed distance in radii, negative inside."""

    name: str
    radius: float
    angle: float
    u: Field
    v: Field
    field: Field


def _place_things(
    rng: np.random.Generator,
    x: Field,
    y: Field,
    image: np.ndarray,
    segment_map: np.ndarray,
    names: list[str],
    light: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Put one to four objects into the landscape, those in front last; appends to ``names``."""
    count = rng.choice([1, 2, 3, 4], p=[0.15, 0.35, 0.3, 0.2])
    hue = rng.uniform()
    full_areas = {}
    for number, height in enumerate(np.sort(rng.uniform(0.3, 0.82, count))):
        for _ in range(12):
            thing = _random_thing(rng, x, y, height)
            inside = thing.field < 0
            trial = np.where(inside, np.int32(len(names) + 1), segment_map)
            full_areas[len(names) + 1] = int(inside.sum())
            if _all_large(trial, names, full_areas):
                color = _rgb(
                    hue + (number + rng.uniform(-0.2, 0.2)) / count, rng.uniform(0.6, 0.95), rng.uniform(0.7, 1)
                )
                image = _paint(rng, image, thing, x, y, color, light)
                names.append(thing.name)
                segment_map = trial
                break
    return image, segment_map


def _random_thing(rng: np.random.Generator, x: Field, y: Field, height: float) -> _Thing:
    """A thing at about ``height``, entirely inside the picture."""
    name = THINGS[rng.integers(len(THINGS))]
    radius = rng.uniform(0.15, 0.25) * {'ball': 0.95, 'box': 0.95, 'cone': 1.0, 'star': 1.05}[name]
    center_x = rng.uniform(radius, 1 - radius)
    center_y = float(np.clip(height + rng.uniform(-0.08, 0.08), radius, 1 - radius))
    angle = rng.uniform(-0.45, 0.45)
    cosine, sine = np.float32(np.cos(angle) / radius), np.float32(np.sin(angle) / radius)
    dx, dy = x - np.float32(center_x), y - np.float32(center_y)
    u, v = cosine * dx + sine * dy, cosine * dy - sine * dx
    return _Thing(name, radius, angle, u, v, FIELDS[name](u, v))


def _all_large(segment_map: np.ndarray, names: list[str], full_areas: dict[int, int]) -> bool:
    """Return whether every segment is large enough, and things are in one piece and not too occluded."""
    areas = np.bincount(segment_map.reshape(-1), minlength=len(names) + 2)
    for number in range(1, len(names) + 2):
        if number not in full_areas:
            if areas[number] < MIN_STUFF_AREA * segment_map.size:
                return False
        elif areas[number] < max(MIN_THING_AREA * segment_map.size, MIN_VISIBLE * full_areas[number]) or (
            areas[number] < full_areas[number]
            and cv2.connectedComponents((segment_map == number).astype(np.uint8), connectivity=4)[0] != 2
        ):
            return False
    return True


def _paint(
    rng: np.random.Generator, image: np.ndarray, thing: _Thing, x: Field, y: Field, color: np.ndarray, light: np.ndarray
) -> np.ndarray:
    """Paint the shadow first, then the shaded object."""
    name, radius, angle, u, v, field = thing
    # The light in the object's frame; the shadow is the same outline moved away from it.
    to_u, to_v = (
        light[0] * np.cos(angle) + light[1] * np.sin(angle),
        light[1] * np.cos(angle) - light[0] * np.sin(angle),
    )
    shadow = 1 - (FIELDS[name](u + np.float32(0.25 * to_u), v + np.float32(0.25 * to_v)) / 0.35).clip(0, 1)
    image = image * (1 - 0.42 * shadow * shadow)[..., None]

    right, down = _relief(name, u, v, field)
    facing = np.sqrt((1 - right * right - down * down).clip(0.05, 1))
    lambert = (right * to_u + down * to_v + facing * light[2]).clip(0, 1)
    grain = 1 + 0.05 * _noise(rng, len(x), 24, 24)
    body = color * ((0.38 + 0.72 * lambert) * grain * (1 - 0.35 * (1 + field / 0.06).clip(0, 1)))[..., None]
    if name in ('ball', 'cone'):
        body = body + (0.55 * lambert**24)[..., None]
    return _mix(image, body.astype(np.float32), (0.5 - field * radius * len(x)).clip(0, 1))
