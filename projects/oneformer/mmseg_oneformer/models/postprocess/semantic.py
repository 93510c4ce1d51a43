"""The class of each pixel."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..mask_resize import ImageSize, resize, resize_matrix
from ..precision import no_autocast
from .tiles import SIDE, SLACK, at_once, blank, bounds, cut, resize_all, runs, to_image

__all__ = ['semantic_map', 'semantic_scores']

STRIP_ELEMENTS = 2**22
"""The most elements that a temporary of a strip of :func:`semantic_scores` may have (16 MB)."""


def semantic_map(class_logits: Tensor, mask_logits: Tensor, size: ImageSize) -> Tensor:
    """Give each pixel the class with the largest sum over queries of class probability times mask probability.

    Args:
        class_logits: (N, K+1).
        mask_logits: (N, h, w).
        size: The sizes of the image.

    Returns:
        Class indices (H, W) int64, in [0, K).
    """
    class_probs, mask_logits = class_logits.float().softmax(-1)[:, :-1], mask_logits.float()
    device, tiling = mask_logits.device, cut(mask_logits, size)
    # The smallest and the largest sum that a class can have in each tile. In most tiles one class is sure to win.
    least, most = (bound.sigmoid_().flatten(1).T @ class_probs for bound in bounds(mask_logits, tiling))
    labels = blank(tiling, 1, torch.int64, device)
    labels += most.argmax(1).view(1, *tiling.grid, 1, 1)
    possible = most * (1 + SLACK) >= least.amax(1, keepdim=True)
    # In the other tiles the possible classes come first, in their order; tiles with similar counts go together.
    counts, tiles = possible.sum(1).sort(stable=True)
    classes = possible[tiles].to(torch.uint8).argsort(dim=1, descending=True, stable=True)
    for part, num_possible in runs(counts.tolist(), at_once(SIDE**2, device), each=len(mask_logits)):
        if num_possible > 1:
            row, column = tiling.place(tiles[part])
            some = classes[part, :num_possible]
            probs = resize_all(mask_logits, tiling, row, column).sigmoid_().flatten(1, 2)
            best = (probs @ class_probs.T[some].mT).argmax(-1)
            labels[0, row, column] = some.gather(1, best).unflatten(1, (SIDE, SIDE))
    return to_image(labels, tiling)[0].contiguous()


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
    # Once, since a copy for each strip would wait for the GPU each time.
    on_device = row_weights.to(mask_logits.device, non_blocking=True)
    step = max(1, STRIP_ELEMENTS // (width * max(class_probs.shape)))
    for start in range(0, height, step):
        rows = slice(start, start + step)
        used = row_weights[rows].any(0).nonzero()
        first, last = int(used[0]), int(used[-1]) + 1
        with no_autocast(mask_logits):
            strip = mask_logits[:, first:last]
            strip = resize(strip, (last - first, size.padded[1]))[..., : size.image[1]]
            strip = resize(strip, (last - first, width))
            strip = torch.matmul(on_device[rows, first:last], strip)
            scores = torch.einsum('nk,nhw->khw', class_probs, strip.sigmoid_())
        yield rows, scores
