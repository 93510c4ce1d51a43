"""From a photo to the input of the network, with the two halves of a config's test pipeline."""

from typing import Any, NamedTuple

import numpy as np
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.dataset import Compose
from torch import Tensor

from ..datasets.transforms.photo import LoadPhoto, build_loader
from ..errors import UserError
from ..photos.decoding import photo_fault
from ..zoo.configs import require
from .sources import Source

__all__ = ['PhotoLoader', 'PreparedPhoto']

MAX_PIXELS = 200_000_000
"""Of photos that are not files on disk."""


class PreparedPhoto(NamedTuple):
    """One image, ready for the network."""

    source: Source
    image: np.ndarray
    """The photo as loaded, (H, W, 3) uint8 BGR."""
    pixels: Tensor
    """(3, h, w) uint8, resized."""
    sample: DetDataSample
    """Holds the sizes."""
    network_size: tuple[int, int]
    """Height and width of the network's input when the image is alone in a batch. Images of the same size can share a
    batch and get the same predictions as each would alone."""


class PhotoLoader:
    """Reads images and prepares them; may be called by several threads.

    Args:
        cfg: Its ``test_dataloader.dataset.pipeline`` is used, as by tools/test.py and mmdet; mmseg reads
            ``test_pipeline``.
        divisor: The sides of the network's input are multiples of it.

    Raises:
        UserError: If the pipeline does not begin with the loader of photos.
    """

    def __init__(self, cfg: Config, divisor: int) -> None:
        first, *others = require(cfg, 'test_dataloader.dataset.pipeline')
        loader = build_loader(first)
        if loader is None:
            raise UserError(f'The test pipeline has to begin with LoadPhoto, not {first["type"]}; reorder it.')
        self._read, self._prepare, self.divisor = loader, Compose(others), divisor
        self._decoder = loader if isinstance(loader, LoadPhoto) else LoadPhoto()

    def __call__(self, source: Source) -> PreparedPhoto:
        """Load one image and prepare it for the network.

        Raises:
            UserError: If it cannot be read.
        """
        results = self._load(source)
        packed = self._prepare({**results, 'img_id': source.name})
        height, width = (-(-side // self.divisor) * self.divisor for side in packed['inputs'].shape[1:])
        return PreparedPhoto(source, results['img'], packed['inputs'], packed['data_samples'], (height, width))

    def _load(self, source: Source) -> dict[str, Any]:
        """Return what the first step of a pipeline passes to the others."""
        if source.path is None:
            assert source.read is not None
            pixels = source.read()
            if isinstance(pixels, bytes):
                pixels = self.decode(pixels, source.file_name)
            shape = pixels.shape[:2]
            return {'img': pixels, 'img_shape': shape, 'ori_shape': shape, 'img_path': None}
        try:
            return self._read({'img_path': str(source.path)})
        except UserError:
            raise
        except Exception:
            # Loaders of other libraries raise assertions and cv2 errors that do not name the file.
            fault = photo_fault(source.path)
            if fault is None:
                raise
            raise UserError(fault) from None

    def decode(self, data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> np.ndarray:
        """Return the photo in the bytes of a file as (H, W, 3) uint8 BGR, as the config's loader reads files.

        Args:
            data: The file's bytes; they may be untrusted.
            name: How errors name it.
            max_pixels: A photo with more is not decoded.

        Raises:
            PhotoError: It is not in a supported format, or it is damaged or too large.
        """
        return self._decoder.decode(data, name, max_pixels)
