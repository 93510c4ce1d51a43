"""From a photo to the input of the network, by the two halves of a config's test pipeline."""

from typing import Any, NamedTuple

import numpy as np
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import TRANSFORMS
from torch import Tensor

from ..datasets.images import image_fault
from ..errors import UserError
from ..zoo.building import build_part
from ..zoo.configs import require
from .sources import Source

__all__ = ['PhotoLoader', 'PreparedPhoto']


class PreparedPhoto(NamedTuple):
    """One image, ready for the network."""

    source: Source
    image: np.ndarray
    """The photo as loaded, (H, W, 3) uint8 BGR."""
    pixels: Tensor
    """(3, h, w) uint8, resized."""
    sample: DetDataSample
    """Knows the sizes."""
    network_size: tuple[int, int]
    """Height and width of the network's input when the image is alone in a batch. Images of one size can share a batch
    and have the predictions that each has alone."""


class PhotoLoader:
    """Reads images and prepares them; may be called by several threads.

    Args:
        cfg: Its ``test_dataloader.dataset.pipeline`` is taken, as by tools/test.py and mmdet; mmseg reads
            ``test_pipeline``.
        divisor: Sides of the network's input are multiples of it.

    Raises:
        UserError: If the pipeline does not begin with the loader of images.
    """

    def __init__(self, cfg: Config, divisor: int) -> None:
        first, *others = require(cfg, 'test_dataloader.dataset.pipeline')
        if not str(first['type']).endswith('LoadImageFromFile'):
            raise UserError(f'The test pipeline has to begin with LoadImageFromFile, not {first["type"]}; reorder it.')
        self._read, self._prepare, self.divisor = build_part(TRANSFORMS, first), Compose(others), divisor

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
        """Return what the first step of a pipeline hands to the others."""
        if source.read is not None:
            array = source.read()
            shape = array.shape[:2]
            return {'img': array, 'img_shape': shape, 'ori_shape': shape, 'img_path': None}
        try:
            return self._read({'img_path': str(source.path)})
        except Exception:
            # The libraries raise assertions and cv2 errors that do not name the file.
            fault = image_fault(str(source.path))
            if fault is None:
                raise
            raise UserError(fault) from None
