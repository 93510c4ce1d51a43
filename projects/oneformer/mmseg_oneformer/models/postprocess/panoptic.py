"""The segments of an image, at most one for each pixel."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..mask_resize import ImageSize
from .tiles import SIDE, SLACK, at_once, blank, bounds, cut, resize_tiles, runs, to_image

__all__ = ['panoptic_segments']

INSTANCE_OFFSET = 1000
"""Ids of a panoptic map are class + 1000 * k, as mmdet's tools expect them."""


def panoptic_segments(
    class_logits: Tensor,
    mask_logits: Tensor,
    size: ImageSize,
    thing_ids: Sequence[int],
    object_mask_thr: float,
    overlap_thr: float,
) -> tuple[Tensor, list[dict[str, Any]]]:
    """Let the confident queries compete for the pixels and keep those that win most of their own mask.

    A pixel goes to the query with the largest class score times mask probability (on a tie, to the first). A query
    becomes a segment where it wins and its own mask probability is at least 0.5, unless it wins less than
    ``overlap_thr`` of its own mask. Parts of one stuff class are one segment, with the score of its first part.

    Args:
        class_logits: (N, K+1).
        mask_logits: (N, h, w).
        size: The sizes of the image.
        thing_ids: The classes that are things.
        object_mask_thr: Only queries with a class score *above* this take part.
        overlap_thr: The minimum share of its own mask (probability >= 0.5) that a query has to win.

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
    winner, inside, areas = _compete(class_scores, mask_logits[kept].float(), size)
    # One transfer; what follows is a few integers per query.
    facts = torch.cat([labels[:, None], areas, class_scores[:, None].double()], 1).tolist()
    things, ids = set(thing_ids), [num_classes] * len(kept)
    segments: list[dict[str, Any]] = []
    count: dict[int, int] = {}
    for query, (*counts, score) in enumerate(facts):
        label, won, own, final = map(int, counts)
        if not (won and own and final) or won / own < overlap_thr:
            continue
        is_thing = label in things
        is_new = is_thing or label not in count
        count[label] = count.get(label, 0) + is_new
        ids[query] = label + INSTANCE_OFFSET * count[label]
        if is_new:
            segments.append({'id': ids[query], 'category_id': label, 'isthing': is_thing, 'score': score})
    table = torch.tensor(ids, dtype=torch.int32).to(winner.device, non_blocking=True)
    return table[winner].masked_fill_(~inside, num_classes), segments


def _compete(class_scores: Tensor, mask_logits: Tensor, size: ImageSize) -> tuple[Tensor, Tensor, Tensor]:
    """Find the query with the largest score in each pixel.

    Args:
        class_scores: (n,) of the queries that take part.
        mask_logits: (n, h, w) fp32.
        size: The sizes of the image.

    Returns:
        The winner (H, W) int64; whether the pixel is inside the winner's own mask (H, W) bool; and the number of pixels
        (n, 3) int64 that each query wins, that are in its own mask, and that are both.
    """
    device, tiling = mask_logits.device, cut(mask_logits, size)
    low, high = bounds(mask_logits, tiling)
    least, most = (bound.sigmoid() * class_scores[:, None, None] for bound in (low, high))
    # Where a query can win, or has pixels of its own. All others change nothing.
    present = ((most * (1 + SLACK) >= least.amax(0)) | (high >= -SLACK)).flatten(1)
    # In each tile the present queries come first, in their order; tiles with similar counts are processed together.
    # Others that fill up a row are resized needlessly. No query is present, and none wins, only where logits are NaN.
    counts, tiles = present.sum(0).clamp(min=1).sort(stable=True)
    queries = present.to(torch.uint8).argsort(dim=0, descending=True, stable=True)[:, tiles].T
    winner, inside = (blank(tiling, 1, dtype, device) for dtype in (torch.int64, torch.bool))
    areas = torch.zeros((3, *present.shape), dtype=torch.int64, device=device)
    for part, num_present in runs(counts.tolist(), at_once(SIDE**2, device), each=0):
        tile, query = tiles[part, None].expand(-1, num_present), queries[part, :num_present]
        row, column = tiling.place(tile)
        probs = resize_tiles(mask_logits, tiling, query.flatten(), row.flatten(), column.flatten()).sigmoid_()
        probs = probs.unflatten(0, query.shape)
        # Not logits >= 0: the sigmoid of a small enough negative number is 0.5 too.
        own = probs >= 0.5
        probs *= class_scores[query][..., None, None]
        # The first of equals; argmax over this dimension takes ten times as long.
        places = torch.arange(num_present, 0, -1, dtype=torch.int32, device=device)[:, None, None]
        first = torch.where(probs == probs.amax(1, keepdim=True), places, 1).amax(1, keepdim=True)
        wins = places == first
        own_wins = wins & own
        best = query.gather(1, (num_present - first).flatten(1).long())
        winner[0, row[:, 0], column[:, 0]] = best.unflatten(1, (SIDE, SIDE))
        inside[0, row[:, 0], column[:, 0]] = own_wins.any(1)
        in_image = tiling.rows.inside[row][..., None] & tiling.columns.inside[column][..., None, :]
        for area, pixels in zip(areas, (wins, own, own_wins), strict=True):
            area[query, tile] = (pixels & in_image).sum((2, 3))
    return to_image(winner, tiling)[0], to_image(inside, tiling)[0], areas.sum(2).T
