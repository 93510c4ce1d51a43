"""What users call: the inferencer, and models by name."""

from .inferencer import OneFormerInferencer, Prepared
from .photo_logits import PhotoLogits
from .registry import find_config, list_models
from .results import AnswerWriter, Instances, OneFormerResult, Panoptic
from .sources import Source
from .weights import find_weights, resolve_weights

__all__ = [
    'AnswerWriter',
    'Instances',
    'OneFormerInferencer',
    'OneFormerResult',
    'Panoptic',
    'PhotoLogits',
    'Prepared',
    'Source',
    'find_config',
    'find_weights',
    'list_models',
    'resolve_weights',
]
