"""A prediction drawn over its photo: colours, edges and names, as on a printed map.

All pictures are (H, W, 3) uint8 **RGB**. Functions take arrays and class names, so they draw predictions, ground truth
and results of other models alike. Small photos are enlarged first, so that names fit.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from torch import Tensor

from ..run_lengths import decode_mask
from .colors import Color, class_colors, lighten, shades
from .text import TextLayer

Array = np.ndarray

SHORT_SIDE = 480
"""Photos with a shorter side than this are enlarged to it; lines and letters are sized relative to it."""


@dataclass
class Segment:
    """One region of a picture."""

    mask: Array
    """(H, W) bool."""
    text: str
    color: Color
    is_thing: bool


def draw_semantic(
    image: Array, labels: Array, classes: Sequence[str], palette: Sequence[Sequence[int]] | None = None
) -> Array:
    """Draw a class map.

    Args:
        image: The photo, (H, W, 3) uint8 RGB.
        labels: (H, W) class indices; anything that is not an index of ``classes`` stays as in the photo.
        classes: Names of the classes.
        palette: A colour for each class; chosen if missing.

    Returns:
        The picture, at least :data:`SHORT_SIDE` pixels high and wide.
    """
    colors = class_colors(len(classes), palette)
    present = [label for label in np.unique(labels).tolist() if 0 <= label < len(classes)]
    return draw_segments(image, [Segment(labels == k, classes[k], colors[k], False) for k in present])


def draw_instances(
    image: Array,
    labels: Iterable[int],
    scores: Iterable[float],
    masks: Iterable[Array | Tensor | Mapping[str, Any]],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]] | None = None,
    score_thr: float = 0.5,
) -> Array:
    """Draw the instances that score at least ``score_thr``, each in a shade of its class's colour.

    Args:
        image: The photo, (H, W, 3) uint8 RGB.
        labels: (n,) class indices.
        scores: (n,) in [0, 1].
        masks: (n, H, W) bool, or n COCO run-length codes, of which only those that are drawn are decoded.
        classes: Names of the classes.
        palette: A colour for each class; chosen if missing.
        score_thr: Instances below are not drawn.

    Returns:
        The picture, at least :data:`SHORT_SIDE` pixels high and wide.
    """
    found = []
    for label, score, given in zip(labels, scores, masks):
        if score >= score_thr and (mask := decode_mask(given)).any():
            found.append((int(label), mask, f'{classes[int(label)]} {score:.0%}', True))
    return draw_segments(image, _shaded(found, class_colors(len(classes), palette)))


def draw_panoptic(
    image: Array,
    ids: Array,
    segments_info: Iterable[Mapping[str, Any]],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]] | None = None,
) -> Array:
    """Draw a panoptic map: things in shades of their class's colour, stuff in the colour itself.

    Args:
        image: The photo, (H, W, 3) uint8 RGB.
        ids: (H, W) segment ids; ids without an entry in ``segments_info`` stay as in the photo.
        segments_info: ``dict(id, category_id, isthing)`` for each segment, ``category_id`` an index of ``classes``.
        classes: Names of the classes.
        palette: A colour for each class; chosen if missing.

    Returns:
        The picture, at least :data:`SHORT_SIDE` pixels high and wide.
    """
    found = [
        (info['category_id'], ids == info['id'], classes[info['category_id']], bool(info['isthing']))
        for info in segments_info
    ]
    return draw_segments(image, _shaded(found, class_colors(len(classes), palette)))


def draw_segments(image: Array, segments: Sequence[Segment]) -> Array:
    """Draw segments over a photo, the smaller over the larger.

    Args:
        image: (H, W, 3) uint8 RGB.
        segments: What to draw.

    Returns:
        The picture, at least :data:`SHORT_SIDE` pixels high and wide.
    """
    picture, scale = enlarge(image)
    unit = min(picture.shape[:2]) / SHORT_SIDE
    ordered = sorted(segments, key=lambda segment: -int(segment.mask.sum()))
    masks = [_enlarge_mask(segment.mask, picture.shape[:2], scale) for segment in ordered]

    # The photo below is muted, so that colours stand out and content stays visible.
    canvas = cv2.addWeighted(picture, 0.85, cv2.cvtColor(_grey(picture), cv2.COLOR_GRAY2RGB), 0.15, 0)
    topmost = _topmost(masks, picture.shape[:2])
    for index, segment in enumerate(ordered):
        mask, alpha = topmost == index, 0.58 if segment.is_thing else 0.5
        canvas[mask] = (canvas[mask] * (1 - alpha) + np.array(segment.color) * alpha).astype(np.uint8)
    for segment, mask in zip(ordered, masks):
        _draw_edge(canvas, mask, segment, unit)

    layer = TextLayer(canvas, unit)
    # Things first, the largest first: where room is scarce, they keep their names.
    area = np.bincount(topmost.ravel() + 1, minlength=len(ordered) + 1)[1:].tolist()
    for index in sorted(range(len(ordered)), key=lambda k: (not ordered[k].is_thing, -area[k])):
        layer.label(ordered[index].text, topmost == index, lighten(ordered[index].color, 0.82))
    return layer.picture()


def enlarge(image: Array) -> tuple[Array, float]:
    """Return an (H, W, 3) photo enlarged to a short side of at least :data:`SHORT_SIDE`, and the factor (>= 1).

    Very long photos are enlarged less, so that no side exceeds eight times :data:`SHORT_SIDE`.
    """
    height, width = image.shape[:2]
    scale = max(1.0, min(SHORT_SIDE / min(height, width), 8 * SHORT_SIDE / max(height, width)))
    if scale == 1:
        return image.copy(), 1.0
    size = round(width * scale), round(height * scale)
    return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), scale


def _shaded(found: Sequence[tuple[int, Array, str, bool]], colors: Sequence[Color]) -> list[Segment]:
    """Return segments, given by class, mask, text and whether they are things, in their colours."""
    labels, masks = [label for label, *_ in found], [mask for _, mask, *_ in found]
    things = {k for k, (*_, is_thing) in enumerate(found) if is_thing}
    return [
        Segment(mask, text, color, is_thing)
        for (_, mask, text, is_thing), color in zip(found, shades(labels, masks, things, colors), strict=True)
    ]


def _enlarge_mask(mask: Array, size: tuple[int, int], scale: float) -> Array:
    """Resize a mask (H, W) bool to ``size`` with smooth edges."""
    mask = np.asarray(mask, bool)
    if mask.shape == tuple(size):
        return mask
    soft = cv2.resize(mask.astype(np.float32), (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    if scale > 2:
        # Linear interpolation keeps the steps of an edge; a blur as wide as a step makes it straight.
        soft = cv2.GaussianBlur(soft, (0, 0), 0.6 * min(scale, 10.0))
    return soft >= 0.5


def _draw_edge(canvas: Array, mask: Array, segment: Segment, unit: float) -> None:
    """Draw the outline of a segment: dark below, the segment's own light tone on top; stuff gets a thin line."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    thickness = max(1, round(1.6 * unit)) if segment.is_thing else max(1, round(unit))
    if segment.is_thing:
        cv2.drawContours(canvas, contours, -1, lighten(segment.color, -0.75), thickness + 2, cv2.LINE_AA)
    cv2.drawContours(canvas, contours, -1, lighten(segment.color, 0.55), thickness, cv2.LINE_AA)


def _topmost(masks: Sequence[Array], size: tuple[int, int]) -> Array:
    """Return for each pixel (H, W) the index of the last mask that covers it, -1 if none does.

    One map, since a copy of the visible part of each mask would double the memory for a crowded photo.
    """
    topmost = np.full(size, -1, np.int32)
    for index, mask in enumerate(masks):
        topmost[mask] = index
    return topmost


def _grey(picture: Array) -> Array:
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
