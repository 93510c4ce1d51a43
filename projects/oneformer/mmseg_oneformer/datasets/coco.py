"""COCO 2017 panoptic."""

from mmengine.registry import DATASETS

from .benchmarks import COCO
from .panoptic import PanopticDataset

__all__ = ['CocoPanoptic']


@DATASETS.register_module()
class CocoPanoptic(PanopticDataset):
    """COCO 2017 with its panoptic annotations."""

    METAINFO = COCO
