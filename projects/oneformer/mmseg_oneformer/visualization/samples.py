"""The predictions in a data sample, as pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.structures import BaseDataElement

from .colors import palette_colors
from .overlay import draw_instances, draw_panoptic, draw_semantic, enlarge
from .panel import panel, token_panel

Array = np.ndarray


def display_names(classes: Sequence[str]) -> tuple[str, ...]:
    """Names short enough for pictures: the first of a comma-separated list (ADE20K's "column, pillar": "column").

    Texts, tables and files keep the full names. So do pictures if two classes would have the same short name.
    """
    short = tuple(name.split(',')[0].strip() for name in classes)
    return short if len(set(short)) == len(short) else tuple(classes)


def draw_predictions(
    image: Array, sample: BaseDataElement, dataset_meta: Mapping[str, Any], score_thr: float = 0.5
) -> dict[str, Array]:
    """Draw every prediction that a data sample has.

    Args:
        image: The photo, (H, W, 3) uint8 RGB, with the size of the predictions.
        sample: With any of ``pred_sem_seg``, ``pred_instances`` and ``pred_panoptic_seg``.
        dataset_meta: Has ``classes`` and optionally ``palette``.
        score_thr: Instances below are not drawn.

    Returns:
        Pictures (H', W', 3) uint8 RGB by task, in the order semantic, instance, panoptic.
    """
    classes, palette = display_names(dataset_meta['classes']), palette_colors(dataset_meta)
    pictures = {}
    if 'pred_sem_seg' in sample:
        pictures['semantic'] = draw_semantic(image, _numpy(sample.pred_sem_seg.sem_seg[0]), classes, palette)
    if 'pred_instances' in sample:
        found = sample.pred_instances
        prediction = (_numpy(found.labels), _numpy(found.scores), found.masks)
        pictures['instance'] = draw_instances(image, *prediction, classes, palette, score_thr)
    if 'pred_panoptic_seg' in sample:
        ids, segments = _numpy(sample.pred_panoptic_seg.sem_seg[0]), sample.pred_panoptic_seg.segments_info
        pictures['panoptic'] = draw_panoptic(image, ids, segments, classes, palette)
    return pictures


def draw_truth(image: Array, sample: BaseDataElement, dataset_meta: Mapping[str, Any]) -> Array | None:
    """Draw the annotated segments (``gt_panoptic_seg`` and ``segments_info``), or return None if there are none."""
    if 'gt_panoptic_seg' not in sample or 'segments_info' not in sample:
        return None
    segments = [
        {'id': index, 'category_id': segment['label'], 'isthing': segment['isthing']}
        for index, segment in enumerate(sample.segments_info, start=1)
    ]
    classes, palette = display_names(dataset_meta['classes']), palette_colors(dataset_meta)
    return draw_panoptic(image, _numpy(sample.gt_panoptic_seg.sem_seg[0]), segments, classes, palette)


def draw_sample(
    image: Array,
    sample: BaseDataElement,
    dataset_meta: Mapping[str, Any],
    score_thr: float = 0.5,
    height: int | None = None,
) -> Array:
    """Put photo, annotation (if there is one) and predictions side by side.

    Args:
        image: As for :func:`draw_predictions`.
        sample: Likewise, optionally with an annotation.
        dataset_meta: Likewise.
        score_thr: Likewise.
        height: Height of each picture in pixels.

    Returns:
        The page, (H', W', 3) uint8 RGB.
    """
    pictures, truth = {'photo': enlarge(image)[0]}, draw_truth(image, sample, dataset_meta)
    if truth is not None:
        pictures['annotation'] = truth
    return panel(pictures | draw_predictions(image, sample, dataset_meta, score_thr), height=height)


def draw_tokens(
    image: Array,
    samples: Mapping[str, BaseDataElement],
    dataset_meta: Mapping[str, Any],
    score_thr: float = 0.5,
    height: int | None = None,
) -> Array:
    """Draw every prediction under every token (paper, Table 8): a row for each token, a column for each prediction.

    Args:
        image: The photo, (H, W, 3) uint8 RGB.
        samples: The data sample under each token, as from ``OneFormer.predict_tokens``.
        dataset_meta: Has ``classes`` and optionally ``palette``.
        score_thr: Instances below are not drawn.
        height: Height of each picture in pixels.

    Returns:
        The page, (H', W', 3) uint8 RGB.
    """
    rows = {token: draw_predictions(image, sample, dataset_meta, score_thr) for token, sample in samples.items()}
    return token_panel(rows, height)


def _numpy(tensor: Any) -> Array:
    return tensor.detach().cpu().numpy()
