"""Mapillary Vistas 1.2: 65 classes; "Unlabeled", its 66th category, is void."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.registry import DATASETS
from mmseg.datasets.mapillary import MapillaryDataset_v1

from .panoptic import PanopticDataset

__all__ = ['MapillaryPanoptic']

UNLABELED = 'Unlabeled'
NUM_CLASSES = 65
# fmt: off
THING_IDS = (
    0, 1, 8, 19, 20, 21, 22, 23, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53,
    54, 55, 56, 57, 59, 60, 61, 62,
)
# fmt: on


@DATASETS.register_module()
class MapillaryPanoptic(PanopticDataset):
    """Mapillary Vistas 1.2 as downloaded: its panoptic annotations are in COCO's format already."""

    METAINFO = {
        'classes': tuple(MapillaryDataset_v1.METAINFO['classes'][:NUM_CLASSES]),
        'thing_ids': THING_IDS,
        'palette': [tuple(color) for color in MapillaryDataset_v1.METAINFO['palette'][:NUM_CLASSES]],
    }

    def image_path(self, image: Mapping[str, Any]) -> str:
        """Path of the photo, a JPEG whatever the suffix in the JSON."""
        return str(Path(self.data_prefix['img']) / f'{Path(image["file_name"]).stem}.jpg')

    def read_json(self) -> dict:
        """The content of ``ann_file`` without the category for void, which no segment has."""
        content = super().read_json()
        content['categories'] = [entry for entry in content['categories'] if entry.get('name') != UNLABELED]
        return content
