"""Queries of several views of one photo, matched and averaged."""

import scipy  # its `optimize` is imported when it is first used
import torch
from torch import Tensor

from .mask_resize import ImageSize, resize_matrix
from .precision import no_autocast

__all__ = ['MergedQueries']

SAME_OBJECT = 0.5
"""Two masks above this IoU may show the same object."""


class MergedQueries:
    """The queries of a leading view, each averaged with those of other views that show the same object.

    Masks are compared on the grid of the leading view's mask logits. Each query of another view is matched with at most
    one of the leading view, such that the sum of IoU times class agreement (the probability that both predict the same
    class) is largest. Mask logits are averaged over the views that have a match; class probabilities over all views,
    where a view without a match counts as certain of 'no object', which lowers the score of objects in few views.

    Args:
        class_logits: (N, K+1) of the leading view.
        mask_logits: (N, h, w) of the leading view, at stride 4 of its padded input.
        size: The sizes of the leading view.
    """

    def __init__(self, class_logits: Tensor, mask_logits: Tensor, size: ImageSize) -> None:
        self.size = size
        self._leading_probs, self._leading_masks = class_logits.float().softmax(-1), mask_logits.float()
        self._prob_sum, self._mask_sum = self._leading_probs.clone(), self._leading_masks.clone()
        self._found = torch.ones(len(class_logits), device=class_logits.device)
        self._views = 1

    @property
    def class_logits(self) -> Tensor:
        """(N, K+1): logarithms of the mean class probabilities."""
        return (self._prob_sum / self._views).clamp(min=1e-12).log()

    @property
    def mask_logits(self) -> Tensor:
        """(N, h, w): mean mask logits."""
        return self._mask_sum / self._found[:, None, None]

    def add(self, class_logits: Tensor, mask_logits: Tensor, size: ImageSize, is_mirrored: bool) -> None:
        """Add a view.

        Args:
            class_logits: (M, K+1).
            mask_logits: (M, h', w').
            size: The sizes of the view, of the same photo.
            is_mirrored: Whether left and right are swapped.
        """
        with no_autocast(mask_logits):
            probs, masks = (
                class_logits.float().softmax(-1),
                self._on_leading_grid(mask_logits.float(), size, is_mirrored),
            )
            mine, other = self._match(probs, masks)
        self._views += 1
        self._found[mine] += 1
        self._mask_sum[mine] += masks[other]
        votes = torch.zeros_like(self._prob_sum)
        votes[:, -1] = 1
        votes[mine] = probs[other]
        self._prob_sum += votes

    def _on_leading_grid(self, mask_logits: Tensor, size: ImageSize, is_mirrored: bool) -> Tensor:
        """Return the masks of another view as logits (M, h, w) on the grid of the leading view's."""
        matrices = []
        for axis, low in enumerate(self._leading_masks.shape[1:]):
            length = self.size.image[axis]
            to_image = resize_matrix(mask_logits.shape[axis + 1], size.padded[axis], size.image[axis], length)
            if is_mirrored and axis == 1:
                to_image = to_image.flip(0)
            stride = self.size.padded[axis] // low
            # The centre of a cell lies between two pixels; cells in the padding repeat the border.
            before = (torch.arange(low) * stride + (stride - 1) // 2).clamp(max=length - 1)
            after = (torch.arange(low) * stride + stride // 2).clamp(max=length - 1)
            matrices.append(((to_image[before] + to_image[after]) / 2).to(mask_logits.device))
        rows, columns = matrices
        return rows @ mask_logits @ columns.T

    def _match(self, probs: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pairs of queries that show the same object: indices of the leading view and of the other."""
        mine, other = (self._leading_masks > 0).flatten(1).float(), (masks > 0).flatten(1).float()
        shared = mine @ other.T
        iou = shared / (mine.sum(1)[:, None] + other.sum(1) - shared).clamp(min=1)
        agreement = self._leading_probs[:, :-1] @ probs[:, :-1].T
        gain = (iou * agreement).masked_fill(iou <= SAME_OBJECT, 0)
        rows, columns = scipy.optimize.linear_sum_assignment(gain.cpu().numpy(), maximize=True)
        mine_index, other_index = (torch.as_tensor(part, device=masks.device) for part in (rows, columns))
        matched = gain[mine_index, other_index] > 0
        return mine_index[matched], other_index[matched]
