"""Cityscapes: the 19 evaluated classes in the order of their train ids, the 8 things last."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.registry import DATASETS
from mmseg.datasets import CityscapesDataset

from .panoptic import PanopticDataset

__all__ = ['CityscapesPanoptic']


@DATASETS.register_module()
class CityscapesPanoptic(PanopticDataset):
    """Cityscapes fine annotations as ``createPanopticImgs`` of cityscapesScripts writes them, without train ids.

    Its JSON numbers the categories 7 to 33, in the order of the train ids; groups of things are crowds.
    """

    METAINFO = {
        'classes': tuple(CityscapesDataset.METAINFO['classes']),
        'thing_ids': tuple(range(11, 19)),
        'palette': [tuple(color) for color in CityscapesDataset.METAINFO['palette']],
    }

    def image_path(self, image: Mapping[str, Any]) -> str:
        """Path of the photo, in the folder of its city; the JSON calls it "<city>_..._gtFine_leftImg8bit.png"."""
        name = Path(image['file_name']).name.replace('_gtFine_', '_')
        return str(Path(self.data_prefix['img']) / name.partition('_')[0] / name)
