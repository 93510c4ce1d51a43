"""Ways to annotate, one file each; all give regions and semantic maps to ``scene``."""

from .coco import CocoFormat
from .instance_ids import InstanceIdFormat
from .labelme import LabelmeFormat
from .voc import VOC_CLASSES, VocFormat
from .yolo import YoloFormat

__all__ = ['VOC_CLASSES', 'CocoFormat', 'InstanceIdFormat', 'LabelmeFormat', 'VocFormat', 'YoloFormat']
