"""Metrics of the three predictions, the token matrix, and the file of results."""

from .cityscapes_ap import CityscapesAP
from .confusion import ConfusionMatrix
from .evaluate import evaluate, for_testing, write_predictions
from .instance_ap import InstanceAP
from .mean_iou import MeanIoU
from .panoptic_quality import PanopticQuality, PQStatistics, pq_statistics
from .pictures import SavePictures
from .report import SegmentReport
from .results import class_numbers, format_classes, format_results, own_token_metrics, versions, write_results
from .submission import FormatAnswers
from .token_matrix import TokenMatrixLoop, split_tokens

__all__ = [
    'CityscapesAP',
    'ConfusionMatrix',
    'FormatAnswers',
    'InstanceAP',
    'MeanIoU',
    'PQStatistics',
    'PanopticQuality',
    'SavePictures',
    'SegmentReport',
    'TokenMatrixLoop',
    'class_numbers',
    'evaluate',
    'for_testing',
    'format_classes',
    'format_results',
    'own_token_metrics',
    'pq_statistics',
    'split_tokens',
    'versions',
    'write_predictions',
    'write_results',
]
