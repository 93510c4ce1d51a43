"""Two models' answers about one photo as pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.structures import BaseDataElement

from ...apis import OneFormerResult
from ...evaluation.ground_truth import PanopticTruth, panoptic_truth
from ...visualization import draw_panoptic, draw_semantic, enlarge, palette_colors, panel
from ...visualization.boxes import draw_boxes
from ...visualization.samples import display_names
from .compared import Compared
from .quality import truth_labels

HEIGHT = 400
"""Of each picture on a page, in pixels."""


def draw_compared(
    answers: Sequence[OneFormerResult],
    names: Sequence[str],
    compared: Compared,
    truth: BaseDataElement | None = None,
    score_thr: float = 0.5,
) -> np.ndarray:
    """Draw photo, annotation if it is known, and both answers, with boxes where these differ (paper, Figure 5).

    Args:
        answers: Of the two models.
        names: Of the two models.
        compared: What was found.
        truth: A data sample with a panoptic annotation.
        score_thr: Instances below are not drawn.

    Returns:
        The page, (H', W', 3) uint8 RGB.
    """
    first = answers[0]
    photo = np.ascontiguousarray(first.image[:, :, ::-1])
    pictures = {'photo': enlarge(photo)[0]}
    if truth is not None:
        pictures['annotation'] = draw_annotation(
            photo, panoptic_truth(truth.to_dict()), compared.task, first.dataset_meta
        )
    for name, answer in zip(names, answers):
        pictures[name] = answer.plot(compared.task, score_thr)
    boxes = [region.box for region in compared.regions]
    return panel({title: draw_boxes(one, boxes, first.size) for title, one in pictures.items()}, height=HEIGHT)


def draw_annotation(photo: np.ndarray, truth: PanopticTruth, task: str, meta: Mapping[str, Any]) -> np.ndarray:
    """Draw what a task should answer, (H', W', 3) uint8 RGB, from a panoptic annotation."""
    classes, palette = display_names(meta['classes']), palette_colors(meta)
    if task == 'semantic':
        return draw_semantic(photo, truth_labels(truth), classes, palette)
    wanted = [
        (number, one) for number, one in enumerate(truth.segments, start=1) if task == 'panoptic' or is_object(one)
    ]
    table = [{'id': number, 'category_id': one['label'], 'isthing': one['isthing']} for number, one in wanted]
    return draw_panoptic(photo, truth.index_map, table, classes, palette)


def is_object(segment: Mapping[str, Any]) -> bool:
    """Return whether an annotated segment is one object, and not stuff or a crowd."""
    return bool(segment['isthing']) and not segment['iscrowd']
