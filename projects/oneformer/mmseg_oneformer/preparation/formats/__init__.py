"""Ways to annotate, one file each; all give regions and semantic maps to ``scene``."""

from .coco import CocoFormat
from .instance_ids import InstanceIdFormat
from .labelme import LabelmeFormat
from .voc import VocFormat
from .yolo import YoloFormat

__all__ = ['CocoFormat', 'InstanceIdFormat', 'LabelmeFormat', 'VocFormat', 'YoloFormat']
