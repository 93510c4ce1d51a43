"""The things of an image, each with a mask of its own."""

from collections.abc import Sequence

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from ...errors import UserError
from ...run_lengths import encode_tiles
from ..mask_resize import ImageSize
from .tiles import SIDE, Tiling, at_once, blank, bounds, cut, resize_tiles, to_image

__all__ = ['instances', 'tight_boxes']

MASK_FORMATS = ('auto', 'dense', 'rle')
LARGE_PHOTO = 2**22
"""Pixels above which ``mask_format='auto'`` means run-length codes: 250 dense masks of that size are 1 GB."""


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
        max_per_image: Maximum number of pairs; more than N * K means all.
        mask_format: 'dense', 'rle', or 'auto': codes for photos of more than ``LARGE_PHOTO`` pixels.

    Returns:
        ``labels`` (n,) int64, ``scores`` (n,) in [0, 1] and descending, ``bboxes`` (n, 4) tight xyxy in pixels with
        x2, y2 one past the last pixel (zeros for an empty mask), ``masks`` (n, H, W) bool or a list of n COCO
        run-length codes of the same pixels.

    Raises:
        UserError: If there is no such mask format.
    """
    as_codes = _as_codes(mask_format, size.original)
    class_probs = class_logits.float().softmax(-1)[:, :-1]
    num_classes = class_probs.shape[1]
    # A stable sort, since topk does not define which of equal scores it takes.
    scores, order = class_probs.flatten().sort(descending=True, stable=True)
    scores, order = scores[:max_per_image], order[:max_per_image]
    labels, queries = order % num_classes, order.div(num_classes, rounding_mode='floor')
    chosen = _is_thing(thing_ids, num_classes, labels.device)[labels].nonzero().flatten()
    scores, labels, queries = scores[chosen], labels[chosen], queries[chosen]

    unique, inverse = queries.unique(return_inverse=True)
    logits = mask_logits[unique].float()
    tiling = cut(logits, size)
    touched = bounds(logits, tiling)[1] > 0
    quality, boxes = scores.new_zeros(len(unique)), scores.new_zeros((len(unique), 4))
    # Codes are small: a few masks at a time. Dense masks are assembled at the end, from all tiles.
    limit = at_once(SIDE**2, logits.device) if as_codes else touched.numel()
    codes: list[dict] = []
    for part in _parts(touched.sum((1, 2)).tolist(), limit):
        masks, quality[part], boxes[part] = _threshold(logits[part], touched[part], tiling)
        if as_codes:
            codes += encode_tiles(masks, touched[part], size.original)
    scores = scores * quality[inverse]
    rank = scores.argsort(descending=True, stable=True)
    inverse = inverse[rank]
    found = [codes[query] for query in inverse.tolist()] if as_codes else _dense(masks, touched, tiling, inverse)
    return InstanceData(labels=labels[rank], scores=scores[rank], bboxes=boxes[inverse], masks=found)


def tight_boxes(masks: Tensor) -> Tensor:
    """Return the boxes (n, 4) float, xyxy with x2, y2 one past the last pixel, of ``masks`` (n, H, W) bool.

    An empty mask gets zeros.
    """
    return _boxes(masks.any(2), masks.any(1))


def _threshold(logits: Tensor, touched: Tensor, tiling: Tiling) -> tuple[Tensor, Tensor, Tensor]:
    """Make the masks of queries: logits above 0.

    Args:
        logits: (n, h, w) fp32.
        touched: (n, R, C) bool, the P tiles in which a mask can have pixels.
        tiling: Of the image.

    Returns:
        The P tiles (P, SIDE, SIDE) bool of the masks in the order of ``touched``, the mean mask probability (n,) inside
        each mask, and the tight boxes (n, 4).
    """
    pairs = touched.nonzero()
    masks = torch.empty((len(pairs), SIDE, SIDE), dtype=torch.bool, device=logits.device)
    sums, areas = (torch.zeros(touched.shape, device=logits.device) for _ in range(2))
    rows, columns = (torch.zeros((*touched.shape, SIDE), dtype=torch.bool, device=logits.device) for _ in range(2))
    step = at_once(SIDE**2, logits.device)
    for some, inside in zip(pairs.split(step), masks.split(step), strict=True):
        place = some.unbind(1)
        values = resize_tiles(logits, tiling, *place)
        torch.gt(values, 0, out=inside)
        rows[place], columns[place], areas[place] = inside.any(2), inside.any(1), inside.sum((1, 2)).float()
        sums[place] = (values.sigmoid_() * inside).sum((1, 2))
    rows, columns = rows.any(2).flatten(1), columns.any(1).flatten(1)
    boxes = _boxes(rows[:, : tiling.rows.pixels], columns[:, : tiling.columns.pixels])
    return masks, sums.sum((1, 2)) / (areas.sum((1, 2)) + 1e-6), boxes


def _dense(masks: Tensor, touched: Tensor, tiling: Tiling, order: Tensor) -> Tensor:
    """Return the masks (len(order), H, W) bool of the queries in ``order``; ``masks`` are those of ``_threshold``."""
    number = touched.flatten().cumsum(0).view(touched.shape) - 1
    tiles = blank(tiling, len(order), torch.bool, masks.device)
    for some in touched[order].nonzero().split(at_once(SIDE**2, masks.device)):
        mask, row, column = some.unbind(1)
        tiles[mask, row, column] = masks[number[order[mask], row, column]]
    return to_image(tiles, tiling).contiguous()


def _boxes(rows: Tensor, columns: Tensor) -> Tensor:
    """Return the boxes of masks that have pixels in the given ``rows`` (n, H) and ``columns`` (n, W), bool."""
    boxes = torch.zeros((len(rows), 4), device=rows.device)
    if not (rows.numel() and columns.numel()):
        return boxes
    for axis, line in enumerate((columns, rows)):
        # Not every device has an argmax of bool; of equal values argmax takes the first.
        line = line.to(torch.uint8)
        boxes[:, axis] = line.argmax(1)
        boxes[:, axis + 2] = (line.shape[1] - line.flip(1).argmax(1)) * line.any(1)
    return boxes


def _parts(counts: list[int], limit: int) -> list[slice]:
    """Return slices of consecutive items whose ``counts`` sum to ``limit`` at most, or of a single item."""
    starts, total = [0], 0
    for index, count in enumerate(counts):
        if total + count > limit and index > starts[-1]:
            starts.append(index)
            total = 0
        total += count
    return [slice(start, stop) for start, stop in zip(starts, [*starts[1:], len(counts)], strict=True)]


def _as_codes(mask_format: str, original: tuple[int, int]) -> bool:
    """Return whether the masks of a photo (height, width) become run-length codes."""
    if mask_format not in MASK_FORMATS:
        raise UserError(f"mask_format is 'auto', 'dense' or 'rle', not {mask_format!r}; choose one of these.")
    return mask_format == 'rle' or (mask_format == 'auto' and original[0] * original[1] > LARGE_PHOTO)


def _is_thing(thing_ids: Sequence[int], num_classes: int, device: torch.device) -> Tensor:
    """Return (K,) bool, true for things."""
    is_thing = torch.zeros(num_classes, dtype=torch.bool)
    is_thing[list(thing_ids)] = True
    return is_thing.to(device, non_blocking=True)
