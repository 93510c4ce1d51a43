"""What users import: the inferencer, and models by name."""

from ..zoo.configs import find_config, list_models
from ..zoo.weights import find_weights, resolve_weights
from .inferencer import OneFormerInferencer
from .options import InferenceOptions
from .photo_logits import PhotoLogits
from .preprocessing import PreparedPhoto
from .results import Instances, OneFormerResult, Panoptic, PredictionWriter, VideoWriter
from .sources import Frame, Source, Video

__all__ = [
    'Frame',
    'InferenceOptions',
    'Instances',
    'OneFormerInferencer',
    'OneFormerResult',
    'Panoptic',
    'PhotoLogits',
    'PredictionWriter',
    'PreparedPhoto',
    'Source',
    'Video',
    'VideoWriter',
    'find_config',
    'find_weights',
    'list_models',
    'resolve_weights',
]
