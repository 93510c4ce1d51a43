"""From the logits of one image to its three answers (reference code, inference; paper §3.4).

Every function takes one image: ``class_logits`` (N, K+1), the last class is 'no object', and ``mask_logits`` (N, h, w)
at stride 4 of the padded input. In the reference all N masks are first brought to the original size; for 250 queries
and a 12-megapixel photo that is 12 GB. Here the same numbers are reached with less:

* semantic: strips of rows, so neither (N, H, W) nor (K, H, W) exists at the original size;
* instance: the best things are chosen first, then each *query* among them is resized once; masks of large photos are
  kept as run-length codes, each made before the next is resized;
* panoptic: only queries above the score threshold are resized, a few at a time, with a running maximum.

The plain form stands in the tests, which compare the two.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from torch import Tensor

from ..run_lengths import encode_masks
from ..tasks import check_task
from .mask_resize import ImageSize, resize, resize_masks, resize_matrix

__all__ = [
    *('ImageSize', 'instances', 'panoptic_segments', 'resize_masks', 'semantic_map', 'semantic_scores'),
    *('tight_boxes', 'to_data_sample'),
]

INSTANCE_OFFSET = 1000
"""Ids of a panoptic map are class + 1000 * k, as mmdet's tools expect them."""

WORKING_ELEMENTS = 2**22
"""How many numbers a temporary at the original resolution may hold (16 MB of fp32)."""

MASK_FORMATS = ('auto', 'dense', 'rle')
LARGE_PHOTO = 2**22
"""Pixels above which ``mask_format='auto'`` means run-length codes: 250 dense masks of that size are 1 GB."""


def semantic_map(class_logits: Tensor, mask_logits: Tensor, size: ImageSize) -> Tensor:
    """Give each pixel the class with the largest sum over queries of class probability times mask probability.

    Args:
        class_logits: (N, K+1).
        mask_logits: (N, h, w).
        size: The sizes of the image.

    Returns:
        Class indices (H, W) int64, in [0, K).
    """
    labels = torch.empty(size.original, dtype=torch.int64, device=mask_logits.device)
    for rows, scores in semantic_scores(class_logits, mask_logits, size):
        labels[rows] = scores.argmax(0)
    return labels


def semantic_scores(class_logits: Tensor, mask_logits: Tensor, size: ImageSize) -> Iterator[tuple[slice, Tensor]]:
    """Yield strips of rows and their scores (K, n, W): the sums of class probability times mask probability.

    Resizing is linear and separable: each strip is resized along its width as in :func:`resize_masks` and along its
    height by the rows it needs of one matrix, both resizes in one. The scores equal the plain form's up to rounding.

    Args:
        class_logits: (N, K+1).
        mask_logits: (N, h, w).
        size: The sizes of the image.
    """
    class_logits, mask_logits = class_logits.float(), mask_logits.float()
    class_probs = class_logits.softmax(-1)[:, :-1]
    height, width = size.original
    row_weights = resize_matrix(mask_logits.shape[1], size.padded[0], size.image[0], height)
    on_device = row_weights.to(mask_logits.device)  # once: a copy a strip would wait for the GPU each time
    step = max(1, WORKING_ELEMENTS // (width * max(class_probs.shape)))
    for start in range(0, height, step):
        rows = slice(start, start + step)
        used = row_weights[rows].any(0).nonzero()
        first, last = int(used[0]), int(used[-1]) + 1
        with torch.autocast(mask_logits.device.type, enabled=False):
            strip = mask_logits[:, first:last]
            strip = resize(strip, (last - first, size.padded[1]))[..., : size.image[1]]
            strip = resize(strip, (last - first, width))
            strip = torch.matmul(on_device[rows, first:last], strip)
            scores = torch.einsum('nk,nhw->khw', class_probs, strip.sigmoid_())
        yield rows, scores


def instances(
    class_logits: Tensor,
    mask_logits: Tensor,
    size: ImageSize,
    thing_ids: Sequence[int],
    max_per_image: int,
    mask_format: str = 'dense',
) -> InstanceData:
    """Choose the best (query, class) pairs and keep those of thing classes.

    The choice is made among all classes, stuff included, before stuff is dropped; one query may appear under several
    classes. A pair's score is its class probability times the mean mask probability inside its mask (logits > 0).

    Args:
        class_logits: (N, K+1).
        mask_logits: (N, h, w).
        size: The sizes of the image.
        thing_ids: The classes that are things.
        max_per_image: How many pairs are chosen at most; more than N * K means all.
        mask_format: 'dense', 'rle', or 'auto': codes for photos of more than ``LARGE_PHOTO`` pixels.

    Returns:
        ``labels`` (n,) int64, ``scores`` (n,) in [0, 1] and descending, ``bboxes`` (n, 4) tight xyxy in pixels with
        x2, y2 one past the last pixel (zeros for an empty mask), ``masks`` (n, H, W) bool or a list of n COCO
        run-length codes of the same pixels.

    Raises:
        ValueError: If there is no such mask format.
    """
    as_codes = _as_codes(mask_format, size.original)
    class_probs = class_logits.float().softmax(-1)[:, :-1]
    num_classes = class_probs.shape[1]
    # A stable sort, since topk leaves open which of equal scores it takes.
    scores, order = class_probs.flatten().sort(descending=True, stable=True)
    scores, order = scores[:max_per_image], order[:max_per_image]
    labels, queries = order % num_classes, order.div(num_classes, rounding_mode='floor')
    chosen = _is_thing(thing_ids, num_classes, labels.device)[labels]
    scores, labels, queries = scores[chosen], labels[chosen], queries[chosen]

    unique, inverse = queries.unique(return_inverse=True)
    dense = torch.empty((0 if as_codes else len(unique), *size.original), dtype=torch.bool, device=mask_logits.device)
    codes: list[dict] = []
    quality, boxes = scores.new_zeros(len(unique)), scores.new_zeros((len(unique), 4))
    for part, logits in _resized_parts(mask_logits[unique], size):
        inside = torch.gt(logits, 0, out=None if as_codes else dense[part])
        quality[part] = (logits.sigmoid() * inside).sum((1, 2)) / (inside.sum((1, 2)) + 1e-6)
        boxes[part] = tight_boxes(inside)
        if as_codes:
            codes += encode_masks(inside)
    scores = scores * quality[inverse]
    rank = scores.argsort(descending=True, stable=True)
    inverse = inverse[rank]
    masks = [codes[query] for query in inverse.tolist()] if as_codes else dense[inverse]
    return InstanceData(labels=labels[rank], scores=scores[rank], bboxes=boxes[inverse], masks=masks)


def panoptic_segments(
    class_logits: Tensor,
    mask_logits: Tensor,
    size: ImageSize,
    thing_ids: Sequence[int],
    object_mask_thr: float,
    overlap_thr: float,
) -> tuple[Tensor, list[dict[str, Any]]]:
    """Let the confident queries compete for the pixels and keep those that win most of their own mask.

    A pixel goes to the query with the largest class score times mask probability (the lower one of equals). A query
    becomes a segment where it wins and its own mask probability is at least 0.5, unless it wins less than
    ``overlap_thr`` of its own mask. Parts of one stuff class are one segment, with the score of its first part.

    Args:
        class_logits: (N, K+1).
        mask_logits: (N, h, w).
        size: The sizes of the image.
        thing_ids: The classes that are things.
        object_mask_thr: Only queries with a class score *above* this take part.
        overlap_thr: The least share of its own mask (probability >= 0.5) that a query has to win.

    Returns:
        The map (H, W) int32 of ids, class + 1000 * k with k >= 1 and K for void, and one
        ``dict(id, category_id, isthing, score)`` for each segment, in the order of the queries.
    """
    class_scores, labels = class_logits.float().softmax(-1).max(-1)
    num_classes = class_logits.shape[1] - 1
    kept = ((labels != num_classes) & (class_scores > object_mask_thr)).nonzero().flatten()
    if not len(kept):
        return torch.full(size.original, num_classes, dtype=torch.int32, device=mask_logits.device), []
    class_scores, labels = class_scores[kept], labels[kept]
    winner, inside, own_area = _compete(class_scores, mask_logits[kept], size)
    won_area = torch.bincount(winner.flatten(), minlength=len(kept))
    final_area = torch.bincount(winner[inside], minlength=len(kept))

    # One transfer; what follows is a few integers a query.
    areas = torch.stack([won_area, own_area, final_area], 1).tolist()
    things, ids = set(thing_ids), [num_classes] * len(kept)
    segments: list[dict[str, Any]] = []
    count: dict[int, int] = {}
    for query, (label, score) in enumerate(zip(labels.tolist(), class_scores.tolist(), strict=True)):
        won, own, final = areas[query]
        if not (won and own and final) or won / own < overlap_thr:
            continue
        is_thing = label in things
        is_new = is_thing or label not in count
        count[label] = count.get(label, 0) + is_new
        ids[query] = label + INSTANCE_OFFSET * count[label]
        if is_new:
            segments.append({'id': ids[query], 'category_id': label, 'isthing': is_thing, 'score': score})
    table = torch.tensor(ids, dtype=torch.int32, device=winner.device)
    return table[winner].masked_fill_(~inside, num_classes), segments


def tight_boxes(masks: Tensor) -> Tensor:
    """Return the boxes (n, 4) float, xyxy with x2, y2 one past the last pixel, of ``masks`` (n, H, W) bool.

    An empty mask gets zeros.
    """
    boxes = torch.zeros((len(masks), 4), device=masks.device)
    if not masks.numel():
        return boxes
    for axis, line in enumerate((masks.any(1), masks.any(2))):
        # bool has no argmax on every device; of equal values argmax takes the first.
        line = line.to(torch.uint8)
        boxes[:, axis] = line.argmax(1)
        boxes[:, axis + 2] = (line.shape[1] - line.flip(1).argmax(1)) * line.any(1)
    return boxes


def to_data_sample(
    sample: BaseDataElement,
    task: str,
    class_logits: Tensor,
    mask_logits: Tensor,
    size: ImageSize,
    thing_ids: Sequence[int],
    test_cfg: Any,
) -> None:
    """Write the answer of one task into ``sample``, under the names of both mmdet and mmseg.

    Args:
        sample: A ``DetDataSample``; gets ``pred_sem_seg``, ``pred_instances`` or ``pred_panoptic_seg`` (whose metainfo
            has ``segments_info``). Maps are stored as ``sem_seg`` (mmdet) and ``data`` (mmseg), (1, H, W).
        task: 'semantic', 'instance' or 'panoptic'.
        class_logits: (N, K+1).
        mask_logits: (N, h, w).
        size: The sizes of the image.
        thing_ids: The classes that are things.
        test_cfg: Has ``object_mask_thr``, ``overlap_thr``, ``max_per_image`` and ``mask_format``.

    Raises:
        ValueError: If there is no such task or mask format.
    """
    check_task(task)
    if task == 'semantic':
        labels = semantic_map(class_logits, mask_logits, size)[None]
        sample.pred_sem_seg = PixelData(sem_seg=labels, data=labels)
    elif task == 'instance':
        sample.pred_instances = instances(
            class_logits, mask_logits, size, thing_ids, test_cfg.max_per_image, test_cfg.mask_format
        )
    else:
        ids, segments = panoptic_segments(
            class_logits, mask_logits, size, thing_ids, test_cfg.object_mask_thr, test_cfg.overlap_thr
        )
        sample.pred_panoptic_seg = PixelData(metainfo={'segments_info': segments}, sem_seg=ids[None], data=ids[None])


def _compete(class_scores: Tensor, mask_logits: Tensor, size: ImageSize) -> tuple[Tensor, Tensor, Tensor]:
    """Find the query with the largest score in each pixel.

    Args:
        class_scores: (n,) of the queries that take part.
        mask_logits: (n, h, w).
        size: The sizes of the image.

    Returns:
        The winner (H, W) int64, whether the pixel is inside the winner's own mask (H, W) bool, and the pixels of each
        query's own mask (n,) int64.
    """
    device = mask_logits.device
    best = torch.full(size.original, -1.0, device=device)
    winner = torch.zeros(size.original, dtype=torch.int64, device=device)
    inside = torch.zeros(size.original, dtype=torch.bool, device=device)
    own_area = torch.zeros(len(class_scores), dtype=torch.int64, device=device)
    for part, logits in _resized_parts(mask_logits, size):
        probs = logits.sigmoid()
        # Not logits >= 0: the sigmoid of a small enough negative number is 0.5 too.
        own = probs >= 0.5
        own_area[part] = own.sum((1, 2))
        value, index = (class_scores[part, None, None] * probs).max(0)
        better = value > best
        best = torch.where(better, value, best)
        winner = torch.where(better, index + part.start, winner)
        inside = torch.where(better, own.gather(0, index[None])[0], inside)
    return winner, inside, own_area


def _resized_parts(mask_logits: Tensor, size: ImageSize) -> Iterator[tuple[slice, Tensor]]:
    """Yield slices of queries and their logits (n, H, W) fp32 at the original size, a bounded number at a time."""
    largest = max(size.padded[0] * size.padded[1], size.original[0] * size.original[1])
    step = max(1, WORKING_ELEMENTS // largest)
    for start in range(0, len(mask_logits), step):
        part = slice(start, start + step)
        yield part, resize_masks(mask_logits[part].float(), size)


def _as_codes(mask_format: str, original: tuple[int, int]) -> bool:
    """Return whether the masks of a photo (height, width) become run-length codes."""
    if mask_format not in MASK_FORMATS:
        raise ValueError(f"mask_format is 'auto', 'dense' or 'rle', not {mask_format!r}; choose one of them.")
    return mask_format == 'rle' or (mask_format == 'auto' and original[0] * original[1] > LARGE_PHOTO)


def _is_thing(thing_ids: Sequence[int], num_classes: int, device: torch.device) -> Tensor:
    """Return (K,) bool, true for things."""
    is_thing = torch.zeros(num_classes, dtype=torch.bool)
    is_thing[list(thing_ids)] = True
    return is_thing.to(device)
