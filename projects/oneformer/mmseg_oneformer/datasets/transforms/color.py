"""Random brightness, contrast, saturation and hue."""

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

__all__ = ['RandomColorDistortion']

_BYTES = np.arange(256)
HUE = 18
"""Largest shift of the hue either way, in steps of 2 degrees."""


@TRANSFORMS.register_module()
class RandomColorDistortion(BaseTransform):
    """``mmseg.PhotoMetricDistortion`` with the ranges of the reference code, by look-up tables.

    Brightness (up to 32 more or less), contrast (a factor of 0.5 to 1.5), saturation (likewise) and hue (up to 18 of
    180 steps, 18 itself among them in both directions; mmseg never draws +18) each change every second photo, and half
    of the time contrast comes last. Each maps a byte to a byte, so that 256 of them are computed instead of the whole
    photo.
    """

    def transform(self, results: dict) -> dict:
        """Distort the photo (H, W, 3) uint8, BGR, in ``results``."""
        table = _line(shift=np.random.uniform(-32, 32)) if np.random.randint(2) else None
        contrast_first = np.random.randint(2) == 1
        if contrast_first:
            table = _then(table, _random_contrast())
        image = _look_up(results['img'], table)
        if np.random.randint(2):
            image = _in_hsv(image, 1, _line(factor=np.random.uniform(0.5, 1.5)))
        if np.random.randint(2):
            image = _in_hsv(image, 0, ((_BYTES + np.random.randint(-HUE, HUE + 1)) % 180).astype(np.uint8))
        results['img'] = image if contrast_first else _look_up(image, _random_contrast())
        return results


def _line(factor: float = 1, shift: float = 0) -> np.ndarray:
    """Table (256,) uint8 of byte x factor + shift, cut to 0..255, in the arithmetic of mmseg."""
    return np.clip(_BYTES.astype(np.float32) * factor + shift, 0, 255).astype(np.uint8)


def _random_contrast() -> np.ndarray | None:
    return _line(factor=np.random.uniform(0.5, 1.5)) if np.random.randint(2) else None


def _then(first: np.ndarray | None, second: np.ndarray | None) -> np.ndarray | None:
    """One table for two, the one after the other."""
    if first is None or second is None:
        return second if first is None else first
    return second[first]


def _look_up(image: np.ndarray, table: np.ndarray | None) -> np.ndarray:
    return image if table is None else cv2.LUT(image, table)


def _in_hsv(image: np.ndarray, channel: int, table: np.ndarray) -> np.ndarray:
    """Look up one channel, hue (0) or saturation (1), of a photo (H, W, 3) uint8, BGR; hues go from 0 to 179."""
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    cv2.insertChannel(cv2.LUT(cv2.extractChannel(hsv, channel), table), hsv, channel)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
