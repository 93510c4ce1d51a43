"""What users call: the inferencer, and models by name."""

from .inferencer import Answer, OneFormerInferencer
from .registry import find_config, list_models
from .sources import Source
from .weights import find_weights, resolve_weights
from .writer import AnswerWriter

__all__ = [
    'Answer',
    'AnswerWriter',
    'OneFormerInferencer',
    'Source',
    'find_config',
    'find_weights',
    'list_models',
    'resolve_weights',
]
