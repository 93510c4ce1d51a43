"""Cropping and padding of photo and map together. Padding is grey 128 in the photo and void (0) in the map."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

__all__ = ['IMAGE_FILL', 'FixedSizeCrop', 'PadTo', 'RandomPanopticCrop']

IMAGE_FILL = 128
VOID = 0


def _crop(results: dict, top: int, left: int, size: tuple[int, int]) -> dict:
    """Keep rows ``top`` and columns ``left`` onwards, at most ``size`` (height, width) of them."""
    for key in ('img', 'gt_seg_map'):
        if results.get(key) is not None:
            results[key] = np.ascontiguousarray(results[key][top : top + size[0], left : left + size[1]])
    results['img_shape'] = results['img'].shape[:2]
    return results


def _pad(results: dict, size: tuple[int, int]) -> dict:
    """Fill up at the right and at the bottom to ``size`` (height, width)."""
    height, width = results['img'].shape[:2]
    if (height, width) == size:
        return results
    for key, fill in (('img', IMAGE_FILL), ('gt_seg_map', VOID)):
        old = results.get(key)
        if old is not None:
            new = np.full((*size, *old.shape[2:]), fill, dtype=old.dtype)
            new[:height, :width] = old
            results[key] = new
    results['img_shape'] = size
    return results


class _Sized(BaseTransform):
    """A transform with a target size.

    Args:
        size: (height, width) in pixels.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = (int(size[0]), int(size[1]))
        if min(self.size) < 1:
            raise ValueError(f'{type(self).__name__}: size must be (height, width) in pixels, got {tuple(size)}.')

    def transform(self, results: dict) -> dict:
        """Bring photo and map in ``results`` to the target size."""
        raise NotImplementedError


@TRANSFORMS.register_module()
class RandomPanopticCrop(_Sized):
    """Cut out a random part; a side that is shorter than asked for stays whole, without padding.

    The reference's crop with an area limit per class has the limit 1.0, which never rejects: this plain crop.
    """

    def transform(self, results: dict) -> dict:
        """Crop photo and map in ``results``."""
        height, width = results['img'].shape[:2]
        top = np.random.randint(max(height - self.size[0], 0) + 1)
        left = np.random.randint(max(width - self.size[1], 0) + 1)
        return _crop(results, top, left, self.size)


@TRANSFORMS.register_module()
class FixedSizeCrop(_Sized):
    """Second half of large-scale jittering: crop what is too large, pad what is too small.

    One random fraction gives both offsets, as in the reference: crops lie on the diagonal of the possible ones.
    """

    def transform(self, results: dict) -> dict:
        """Crop and pad photo and map in ``results``."""
        height, width = results['img'].shape[:2]
        fraction = np.random.uniform(0.0, 1.0)
        top = int(np.round(max(height - self.size[0], 0) * fraction))
        left = int(np.round(max(width - self.size[1], 0) * fraction))
        return _pad(_crop(results, top, left, self.size), self.size)


@TRANSFORMS.register_module()
class PadTo(_Sized):
    """Pad at the right and at the bottom to a fixed size; a larger image loses what lies beyond it."""

    def transform(self, results: dict) -> dict:
        """Pad photo and map in ``results``."""
        return _pad(_crop(results, 0, 0, self.size), self.size)
