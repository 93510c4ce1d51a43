"""Cropping and padding of photo and map together. Padding is grey 128 in the photo and void (0) in the map."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from ...errors import UserError
from ...zoo.building import build_part
from .resampling import Window, cut
from .resize import resize_to

__all__ = ['IMAGE_FILL', 'FixedSizeCrop', 'PadTo', 'RandomPanopticCrop', 'RandomShortestEdgeCrop', 'ResizeAndCrop']

IMAGE_FILL = 128
VOID = 0


def _inside(size: tuple[int, int], top: int, left: int, wanted: tuple[int, int]) -> Window:
    """At most ``wanted`` (height, width) of an image of ``size``, from ``top`` and ``left`` onwards."""
    return Window(top, left, min(wanted[0], size[0] - top), min(wanted[1], size[1] - left))


def _crop(results: dict, window: Window) -> dict:
    """Keep a window of photo and map."""
    for key in ('img', 'gt_seg_map'):
        if results.get(key) is not None:
            results[key] = cut(results[key], window)
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
            raise UserError(f'{type(self).__name__}: size must be (height, width) in pixels, got {tuple(size)}.')

    def transform(self, results: dict) -> dict:
        """Bring photo and map in ``results`` to the target size."""
        raise NotImplementedError


@TRANSFORMS.register_module()
class RandomPanopticCrop(_Sized):
    """Cut out a random part; a side that is shorter than requested stays whole, without padding.

    The reference's crop with an area limit per class has the limit 1.0, which never rejects: this plain crop.
    """

    def transform(self, results: dict) -> dict:
        """Crop photo and map in ``results``."""
        return _crop(results, self.draw_window(results['img'].shape[:2]))

    def draw_window(self, size: tuple[int, int]) -> Window:
        """Draw what is cut out of an image of ``size`` (height, width)."""
        top = np.random.randint(max(size[0] - self.size[0], 0) + 1)
        left = np.random.randint(max(size[1] - self.size[1], 0) + 1)
        return _inside(size, top, left, self.size)

    def finish(self, results: dict) -> dict:
        """Do what follows the cutting: nothing."""
        return results


@TRANSFORMS.register_module()
class FixedSizeCrop(_Sized):
    """Second half of large-scale jittering: crop what is too large, pad what is too small.

    One random fraction gives both offsets, as in the reference: crops lie on the diagonal of the possible ones.
    """

    def transform(self, results: dict) -> dict:
        """Crop and pad photo and map in ``results``."""
        return self.finish(_crop(results, self.draw_window(results['img'].shape[:2])))

    def draw_window(self, size: tuple[int, int]) -> Window:
        """Draw what is cut out of an image of ``size`` (height, width)."""
        fraction = np.random.uniform(0.0, 1.0)
        top = int(np.round(max(size[0] - self.size[0], 0) * fraction))
        left = int(np.round(max(size[1] - self.size[1], 0) * fraction))
        return _inside(size, top, left, self.size)

    def finish(self, results: dict) -> dict:
        """Pad what is too small."""
        return _pad(results, self.size)


@TRANSFORMS.register_module()
class PadTo(_Sized):
    """Pad at the right and at the bottom to a fixed size; a larger image loses what lies beyond it."""

    def transform(self, results: dict) -> dict:
        """Pad photo and map in ``results``."""
        return _pad(_crop(results, _inside(results['img'].shape[:2], 0, 0, self.size)), self.size)


@TRANSFORMS.register_module()
class ResizeAndCrop(BaseTransform):
    """A resizing and a crop behind it in one step: the same numbers, without computing what the crop throws away.

    Args:
        resize: Config of ``RandomScaleResize``, ``RandomShortestEdge`` or ``ShortestEdge``.
        crop: Config of ``FixedSizeCrop`` or ``RandomPanopticCrop``.
    """

    def __init__(self, resize: dict, crop: dict) -> None:
        self.resize, self.crop = build_part(TRANSFORMS, resize), build_part(TRANSFORMS, crop)
        for part, transform, method in (('resize', self.resize, 'draw_size'), ('crop', self.crop, 'draw_window')):
            if not hasattr(transform, method):
                raise UserError(
                    f'ResizeAndCrop cannot have {type(transform).__name__} as its {part}; let the two transforms stand '
                    'one behind the other in the pipeline.'
                )

    def transform(self, results: dict) -> dict:
        """Resize and crop photo and map in ``results``."""
        size = self.resize.draw_size(results['img'].shape[:2])
        return self.crop.finish(resize_to(results, size, self.crop.draw_window(size)))


@TRANSFORMS.register_module()
class RandomShortestEdgeCrop(ResizeAndCrop):
    """``RandomShortestEdge`` around one length and ``RandomPanopticCrop``: the reference's augmentation but for COCO.

    Args:
        size: (height, width) of the crop in pixels.
        edge: The shorter side becomes 0.5, 0.6, ... or 2.0 times as long, the longer one at most 4 times; in pixels, by
            default the crop's longer side.
    """

    def __init__(self, size: tuple[int, int], edge: int | None = None) -> None:
        edge = max(size) if edge is None else edge
        sizes = [edge * tenths // 10 for tenths in range(5, 21)]
        super().__init__(
            {'type': 'RandomShortestEdge', 'sizes': sizes, 'max_size': 4 * edge},
            {'type': 'RandomPanopticCrop', 'size': size},
        )
