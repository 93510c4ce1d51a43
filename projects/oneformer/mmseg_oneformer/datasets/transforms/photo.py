"""Read the photo of a sample."""

import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine import fileio
from mmengine.registry import TRANSFORMS

from ...errors import UserError
from ...photos.arrays import array_to_bgr, check_array
from ...photos.decoding import Decoded, decode_photo
from ...zoo.building import build_part

__all__ = ['LoadPhoto', 'build_loader']

ALIKE = {'type', 'backend_args'}
"""Settings of ``LoadImageFromFile`` with which it means what ``LoadPhoto`` does."""


@TRANSFORMS.register_module()
class LoadPhoto(BaseTransform):
    """Load the photo of a sample as ``img`` (H, W, 3) uint8 BGR, as it is shown (docs/photos.md).

    Of JPEGs and PNGs of 8 bits it has the same bytes as ``LoadImageFromFile``, which still works in configs.

    Args:
        bits: Of photos with 16 bits a channel, how many the data use, 8 to 16: values from 0 to ``2 ** bits - 1`` are
            read as 0 to 255. None: all. Say it in the pipelines of training and testing alike.
        backend_args: Of mmengine's file backend, for photos that are not on disk.
    """

    def __init__(self, bits: int | None = None, backend_args: dict | None = None) -> None:
        if bits is not None and not (isinstance(bits, int) and 8 <= bits <= 16):
            raise UserError(f'bits of LoadPhoto is a whole number from 8 to 16, not {bits}; correct it.')
        self.bits, self.backend_args = bits, backend_args
        self._told: set[str] = set()

    def transform(self, results: dict[str, Any] | str | np.ndarray) -> dict[str, Any]:
        """Return ``results`` with ``img``, ``img_shape`` and ``ori_shape``.

        Args:
            results: Has ``img_path``, or an ``img`` (BGR or grey); inferencers of mmdet and mmseg give these alone.

        Raises:
            UserError: The photo does not exist or cannot be read.
        """
        if not isinstance(results, Mapping):
            results = {'img' if isinstance(results, np.ndarray) else 'img_path': results}
        if (image := results.get('img')) is not None:
            check_array(image, 'bgr')
            image = array_to_bgr(image, 'bgr')
            results.setdefault('img_path', None)
        else:
            image = self._read(str(results['img_path']))
        results['img'] = image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results

    def decode(self, data: bytes, name: str, max_pixels: int | None = None) -> np.ndarray:
        """Return the photo in the bytes of a file as (H, W, 3) uint8 BGR.

        Raises:
            PhotoError: It cannot be read.
        """
        return self._tell(decode_photo(data, bits=self.bits, name=name, max_pixels=max_pixels), name)

    def _read(self, path: str) -> np.ndarray:
        if self.backend_args is not None or '://' in path:
            return self.decode(fileio.get(path, self.backend_args), path)
        return self._tell(decode_photo(path, bits=self.bits), path)

    def _tell(self, photo: Decoded, name: str) -> np.ndarray:
        """Warn of what was left out or is dark, of the first photo of each kind: a set may have thousands."""
        for note in photo.notes:
            kind = re.sub(r'-?\d+', '', note)
            if kind not in self._told:
                self._told.add(kind)
                warnings.warn(f'Image {name} {note}. (Others like it are not reported.)', stacklevel=2)
        return photo.pixels

    def __repr__(self) -> str:
        return f'{type(self).__name__}(bits={self.bits}, backend_args={self.backend_args})'


def build_loader(step: Mapping[str, Any]) -> BaseTransform | None:
    """Return the loader that the first step of a pipeline means, a plain ``LoadImageFromFile`` being a ``LoadPhoto``.

    Returns:
        None: It is no loader of photos.
    """
    name = str(step['type']).rpartition('.')[2]
    if name == 'LoadImageFromFile' and set(step) <= ALIKE:
        return LoadPhoto(backend_args=step.get('backend_args'))
    return build_part(TRANSFORMS, step) if name in ('LoadPhoto', 'LoadImageFromFile') else None
