"""ADE20K with panoptic annotations.

The public preparation paints things over stuff, so a listed stuff segment may have no pixels left. Configs therefore
use ``LoadPanopticIds(allow_absent=True)``.
"""

from mmengine.registry import DATASETS

from .benchmarks import ADE20K
from .panoptic import PanopticDataset

__all__ = ['Ade20kPanoptic']


@DATASETS.register_module()
class Ade20kPanoptic(PanopticDataset):
    """ADE20K's scene parsing benchmark, with the panoptic annotations that the reference code's preparation writes."""

    METAINFO = ADE20K
