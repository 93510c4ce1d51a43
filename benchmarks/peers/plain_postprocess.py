"""The plain form of post-processing: all masks are resized to the original size first (reference code, inference).

Tests and benchmarks compare :mod:`mmseg_oneformer.models.postprocess` with it. Arguments and results are those of the
functions there.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData
from torch import Tensor

from mmseg_oneformer.models.mask_resize import ImageSize

__all__ = ['plain_instances', 'plain_panoptic_segments', 'plain_resize', 'plain_semantic_map', 'plain_semantic_scores']


def plain_resize(mask_logits: Tensor, size: ImageSize) -> Tensor:
    """Return all masks (N, H, W): to the padded size, cropped, to the original size."""
    masks = F.interpolate(mask_logits[None], size=size.padded, mode='bilinear', align_corners=False)
    masks = masks[..., : size.image[0], : size.image[1]]
    return F.interpolate(masks, size=size.original, mode='bilinear', align_corners=False)[0]


def plain_semantic_scores(class_logits: Tensor, mask_logits: Tensor, size: ImageSize) -> Tensor:
    """Return the scores (K, H, W) of all classes."""
    masks = plain_resize(mask_logits, size).sigmoid_()
    return torch.einsum('qc,qhw->chw', class_logits.softmax(-1)[:, :-1], masks)


def plain_semantic_map(class_logits: Tensor, mask_logits: Tensor, size: ImageSize) -> Tensor:
    """Return the class of each pixel (H, W)."""
    return plain_semantic_scores(class_logits, mask_logits, size).argmax(0)


def plain_instances(
    class_logits: Tensor, mask_logits: Tensor, size: ImageSize, thing_ids: Sequence[int], max_per_image: int
) -> InstanceData:
    """Return the best things, with dense masks."""
    masks, probs = plain_resize(mask_logits, size), class_logits.softmax(-1)[:, :-1]
    scores, order = probs.flatten().topk(min(max_per_image, probs.numel()))
    labels = order % probs.shape[1]
    is_thing = torch.isin(labels, torch.tensor(list(thing_ids), device=labels.device))
    scores, labels, masks = scores[is_thing], labels[is_thing], masks[order[is_thing] // probs.shape[1]]
    inside = masks > 0
    scores = scores * (masks.sigmoid_() * inside).flatten(1).sum(1) / (inside.flatten(1).sum(1) + 1e-6)
    rank = scores.argsort(descending=True, stable=True)
    inside = inside[rank]
    boxes = torch.zeros(len(inside), 4)
    for box, mask in zip(boxes, inside):
        rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
        if len(rows):
            box[:] = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])[:, 0]
    return InstanceData(labels=labels[rank], scores=scores[rank], bboxes=boxes.to(inside.device), masks=inside)


def plain_panoptic_segments(
    class_logits: Tensor,
    mask_logits: Tensor,
    size: ImageSize,
    thing_ids: Sequence[int],
    object_mask_thr: float,
    overlap_thr: float,
) -> tuple[Tensor, list[dict[str, Any]]]:
    """Return the map (H, W) of ids and the segments, one query after another."""
    num_classes = class_logits.shape[1] - 1
    scores, labels = class_logits.softmax(-1).max(-1)
    masks = plain_resize(mask_logits, size).sigmoid_()
    kept = (labels != num_classes) & (scores > object_mask_thr)
    scores, labels, masks = scores[kept], labels[kept], masks[kept]
    prediction = torch.full(size.original, num_classes, dtype=torch.int32, device=masks.device)
    segments: list[dict[str, Any]] = []
    if not len(masks):
        return prediction, segments
    winner = (scores[:, None, None] * masks).argmax(0)
    count: dict[int, int] = {}
    for query, label in enumerate(labels.tolist()):
        won, own = winner == query, masks[query] >= 0.5
        final = won & own
        if not (won.any() and own.any() and final.any()) or int(won.sum()) / int(own.sum()) < overlap_thr:
            continue
        is_thing = label in thing_ids
        if is_thing or label not in count:
            count[label] = count.get(label, 0) + 1
            score = scores[query].item()
            index = label + 1000 * count[label]
            segments.append({'id': index, 'category_id': label, 'isthing': is_thing, 'score': score})
        prediction[final] = label + 1000 * count[label]
    return prediction, segments
