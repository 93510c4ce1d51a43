"""Mirror images."""

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from ...errors import UserError

__all__ = ['RandomHorizontalFlip']


@TRANSFORMS.register_module()
class RandomHorizontalFlip(BaseTransform):
    """Mirror photo and map left to right, or not: ``mmdet.RandomFlip`` for a map, with the same draws.

    mmdet's leaves a view with negative strides, and copying one of those later takes eighty times as long as mirroring.

    Args:
        prob: How often, 0 to 1.
    """

    def __init__(self, prob: float = 0.5) -> None:
        if not 0 <= prob <= 1:
            raise UserError(f'prob of RandomHorizontalFlip must lie in 0..1, got {prob}.')
        self.prob = prob

    def transform(self, results: dict) -> dict:
        """Flip photo and map in ``results``, and say so in ``flip`` and ``flip_direction``."""
        flip = bool(np.random.uniform() < self.prob)
        if flip:
            for key in ('img', 'gt_seg_map'):
                if results.get(key) is not None:
                    results[key] = cv2.flip(results[key], 1)
        results['flip'], results['flip_direction'] = flip, 'horizontal' if flip else None
        return results
