"""COCO 2017 panoptic: 133 classes, the 80 things first."""

from mmdet.datasets import CocoPanopticDataset
from mmengine.registry import DATASETS

from .panoptic import PanopticDataset

__all__ = ['CocoPanoptic']


@DATASETS.register_module()
class CocoPanoptic(PanopticDataset):
    """COCO 2017 with its panoptic annotations; names, order and colours are COCO's own."""

    METAINFO = {
        'classes': tuple(CocoPanopticDataset.METAINFO['classes']),
        'thing_ids': tuple(range(80)),
        'palette': [tuple(color) for color in CocoPanopticDataset.METAINFO['palette']],
    }
