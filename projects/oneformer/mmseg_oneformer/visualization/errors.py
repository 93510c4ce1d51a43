"""What a prediction got wrong, over a faded photo."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from .colors import Color
from .overlay import Segment, draw_segments

Array = np.ndarray

MISSED: Color = (38, 132, 222)
FALSE: Color = (224, 66, 48)
CONFUSED: Color = (158, 72, 204)
"""A missed segment, a false one, and one that is both: found, but as another class."""


def draw_errors(
    image: Array, gt_map: Array, pred_map: Array, segments: Sequence[Mapping[str, Any]], classes: Sequence[str]
) -> Array:
    """Draw missed segments, false ones and those of a wrong class; the rest of the photo stays grey.

    Args:
        image: The photo, (H, W, 3) uint8 RGB.
        gt_map: (H, W) ids of the annotated segments.
        pred_map: (H, W) ids of the predicted segments.
        segments: Records with ``outcome``, ``class``, ``iou``, ``annotated``, ``predicted`` and ``nearest``, as in
            ``report.json``.
        classes: Names of the classes.

    Returns:
        The picture (H', W', 3) uint8 RGB; small photos are enlarged.
    """
    missed = {segment['annotated']['id']: segment for segment in segments if segment['outcome'] == 'fn'}
    drawn = []
    for segment in segments:
        if segment['outcome'] != 'fp':
            continue
        name, mask = classes[segment['class']], pred_map == segment['predicted']['id']
        nearest = segment['nearest']
        # Above one half there is only one partner, so the missed segment belongs to no other.
        if nearest is not None and nearest['id'] in missed and segment['iou'] > 0.5:
            del missed[nearest['id']]
            drawn.append(Segment(mask, f'{name}, not {classes[nearest["class"]]}', CONFUSED, True))
        else:
            drawn.append(Segment(mask, name, FALSE, True))
    for identity, segment in missed.items():
        drawn.append(Segment(gt_map == identity, classes[segment['class']], MISSED, True))
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return draw_segments(cv2.addWeighted(grey, 0.55, np.full_like(grey, 255), 0.45, 0), drawn)
