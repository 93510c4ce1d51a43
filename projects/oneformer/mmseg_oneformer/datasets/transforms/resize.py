"""Resizing as the reference does it: the photo by PIL's filter with antialiasing, the map by its nearest pixel centre.

OpenCV's bilinear takes four pixels whatever the factor, which shows when a photo shrinks, and mmcv's PIL backend
does not take int32 maps.
"""

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from ...errors import UserError
from .resampling import Window, resize_image, resize_map

__all__ = ['RandomScaleResize', 'RandomShortestEdge', 'ShortestEdge', 'resize_to', 'shortest_edge_size']


def shortest_edge_size(size: tuple[int, int], edge: int, max_size: int) -> tuple[int, int]:
    """New (height, width) of an image: shorter side ``edge``, unless the longer one would then pass ``max_size``.

    Both sides are rounded half up *after* the cap, from exact products, as in detectron2; 333x500 to 512 gives 512x769.
    """
    height, width = size
    scale = edge / min(height, width)
    new_height, new_width = (edge, scale * width) if height < width else (scale * height, edge)
    longer = max(new_height, new_width)
    if longer > max_size:
        new_height, new_width = new_height * (max_size / longer), new_width * (max_size / longer)
    return max(int(new_height + 0.5), 1), max(int(new_width + 0.5), 1)


def resize_to(results: dict, size: tuple[int, int], window: Window | None = None) -> dict:
    """Resize photo and, where there is one, map in ``results`` to ``size`` (height, width); keep a window of them."""
    image = results['img']
    if image.dtype not in (np.uint8, np.float32):  # float32: what mmcv's loader makes of 0 to 255, where it is told to
        raise UserError(f'A photo has values 0-255 of uint8 and not {image.dtype}; convert the array.')
    results['img'] = resize_image(image, size, window)
    if results.get('gt_seg_map') is not None:
        results['gt_seg_map'] = resize_map(results['gt_seg_map'], size, window)
    results['img_shape'] = results['img'].shape[:2]
    results['scale_factor'] = (size[1] / image.shape[1], size[0] / image.shape[0])
    results['keep_ratio'] = True
    return results


@TRANSFORMS.register_module()
class RandomShortestEdge(BaseTransform):
    """Resize so that the shorter side is one of several lengths, drawn uniformly.

    Args:
        sizes: Lengths to draw from, in pixels.
        max_size: What the longer side must not pass, in pixels.
    """

    def __init__(self, sizes: Sequence[int], max_size: int) -> None:
        self.sizes = tuple(int(edge) for edge in sizes)
        self.max_size = max_size
        if not self.sizes or min(self.sizes) < 1:
            raise UserError(f'sizes must be positive lengths in pixels, got {tuple(sizes)}.')

    def transform(self, results: dict) -> dict:
        """Resize photo and map in ``results``."""
        return resize_to(results, self.draw_size(results['img'].shape[:2]))

    def draw_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Draw the new (height, width) of an image of ``size``."""
        return shortest_edge_size(size, int(np.random.choice(self.sizes)), self.max_size)


@TRANSFORMS.register_module()
class ShortestEdge(RandomShortestEdge):
    """Resize so that the shorter side has one given length: the test-time form.

    Args:
        size: Length of the shorter side in pixels.
        max_size: What the longer side must not pass, in pixels.
    """

    def __init__(self, size: int, max_size: int) -> None:
        super().__init__((size,), max_size)


@TRANSFORMS.register_module()
class RandomScaleResize(BaseTransform):
    """First half of large-scale jittering: fit into ``size`` times a random factor, keeping the aspect.

    Args:
        scale: Smallest and largest factor, drawn uniformly.
        size: (height, width) in pixels that factor 1 fits the image into.
    """

    def __init__(self, scale: tuple[float, float], size: tuple[int, int]) -> None:
        self.scale = (float(scale[0]), float(scale[1]))
        self.size = (int(size[0]), int(size[1]))
        if not 0 < self.scale[0] <= self.scale[1]:
            raise UserError(f'scale must be (smallest, largest) with 0 < smallest <= largest, got {tuple(scale)}.')

    def transform(self, results: dict) -> dict:
        """Resize photo and map in ``results``."""
        return resize_to(results, self.draw_size(results['img'].shape[:2]))

    def draw_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Draw the new (height, width) of an image of ``size``."""
        return self.new_size(size, np.random.uniform(*self.scale))

    def new_size(self, size: tuple[int, int], factor: float) -> tuple[int, int]:
        """(height, width) of an image of ``size`` under ``factor``, rounded half to even as in detectron2."""
        ratio = min(self.size[0] * factor / size[0], self.size[1] * factor / size[1])
        return max(int(np.round(size[0] * ratio)), 1), max(int(np.round(size[1] * ratio)), 1)
