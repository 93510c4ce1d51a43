"""Cityscapes with panoptic annotations."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.registry import DATASETS

from .benchmarks import CITYSCAPES
from .panoptic import PanopticDataset

__all__ = ['CityscapesPanoptic']


@DATASETS.register_module()
class CityscapesPanoptic(PanopticDataset):
    """Cityscapes fine annotations as ``createPanopticImgs`` of cityscapesScripts writes them, without train ids.

    Its JSON numbers the categories 7 to 33, in the order of the train ids; groups of things are crowds. If
    ``data_prefix`` has ``sem`` and ``instance``, the folders of the cities with labelTrainIds and instanceIds, mIoU and
    AP are measured on these annotations of their own task.
    """

    METAINFO = CITYSCAPES

    def image_path(self, image: Mapping[str, Any]) -> str:
        """Return the path of the photo in its city's folder; in the JSON it is "<city>_..._gtFine_leftImg8bit.png"."""
        name = Path(image['file_name']).name.replace('_gtFine_', '_')
        return str(Path(self.data_prefix['img']) / name.partition('_')[0] / name)

    def truth_paths(self, image: Mapping[str, Any]) -> dict[str, str]:
        """Return ``sem_map_path`` (train ids) and ``instance_ids_path`` if ``data_prefix`` names their folders."""
        stem = Path(image['file_name']).name.partition('_gtFine_')[0]
        kinds = {'sem': ('sem_map_path', 'labelTrainIds'), 'instance': ('instance_ids_path', 'instanceIds')}
        return {
            key: str(Path(self.data_prefix[prefix]) / stem.partition('_')[0] / f'{stem}_gtFine_{ending}.png')
            for prefix, (key, ending) in kinds.items()
            if prefix in self.data_prefix
        }
