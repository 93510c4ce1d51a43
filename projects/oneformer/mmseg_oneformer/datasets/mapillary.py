"""Mapillary Vistas 1.2."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.registry import DATASETS

from ..annotations.coco_panoptic import PanopticFile, read_panoptic
from .benchmarks import MAPILLARY, MAPILLARY_UNLABELED
from .panoptic import PanopticDataset

__all__ = ['MapillaryPanoptic']


@DATASETS.register_module()
class MapillaryPanoptic(PanopticDataset):
    """Mapillary Vistas 1.2 as downloaded: its panoptic annotations are in COCO's format already."""

    METAINFO = MAPILLARY

    def image_path(self, image: Mapping[str, Any]) -> str:
        """Return the path of the photo, a JPEG whatever the suffix in the JSON."""
        return str(Path(self.data_prefix['img']) / f'{Path(image["file_name"]).stem}.jpg')

    def read_annotations(self) -> PanopticFile:
        """Read ``ann_file`` without the category for void, which no segment has."""
        return read_panoptic(self.ann_file, without=(MAPILLARY_UNLABELED,))
