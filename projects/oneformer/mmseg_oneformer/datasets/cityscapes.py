"""Cityscapes: the 19 evaluated classes in the order of their train ids, the 8 things last."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.registry import DATASETS
from mmseg.datasets import CityscapesDataset

from .panoptic import PanopticDataset

__all__ = ['LABEL_IDS', 'CityscapesPanoptic']

LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Label id of each evaluated class, in the order of the train ids."""


@DATASETS.register_module()
class CityscapesPanoptic(PanopticDataset):
    """Cityscapes fine annotations as ``createPanopticImgs`` of cityscapesScripts writes them, without train ids.

    Its JSON numbers the categories 7 to 33, in the order of the train ids; groups of things are crowds. Where
    ``data_prefix`` says so, mIoU and AP are measured on the annotations of their own task: ``sem`` and ``instance`` are
    the folders of the cities with labelTrainIds and instanceIds.
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

    def truth_paths(self, image: Mapping[str, Any]) -> dict[str, str]:
        """``sem_map_path`` (train ids) and ``instance_ids_path``, where ``data_prefix`` names their folders."""
        stem = Path(image['file_name']).name.partition('_gtFine_')[0]
        kinds = {'sem': ('sem_map_path', 'labelTrainIds'), 'instance': ('instance_ids_path', 'instanceIds')}
        return {
            key: str(Path(self.data_prefix[prefix]) / stem.partition('_')[0] / f'{stem}_gtFine_{ending}.png')
            for prefix, (key, ending) in kinds.items()
            if prefix in self.data_prefix
        }
