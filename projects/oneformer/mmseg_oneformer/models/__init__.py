"""The network, its losses and its post-processing."""

from .backbones import ConvNeXt, DiNAT
from .baselines import Mask2FormerBaseline
from .decode_head import OneFormerDecodeHead
from .head import OneFormerHead
from .losses import ContrastiveLoss, LossInputs, OneFormerCriterion, QueryClassification, Targets
from .masked_decoder import MaskedDecoder, Predictions
from .oneformer import OneFormer
from .pixel_decoder import OneFormerPixelDecoder
from .query_initializer import QueryInitializer
from .task_token import TaskToken
from .test_time_views import TestTimeViews
from .text_mapper import TextMapper

__all__ = [
    'ContrastiveLoss',
    'ConvNeXt',
    'DiNAT',
    'LossInputs',
    'Mask2FormerBaseline',
    'MaskedDecoder',
    'OneFormer',
    'OneFormerCriterion',
    'OneFormerDecodeHead',
    'OneFormerHead',
    'OneFormerPixelDecoder',
    'Predictions',
    'QueryClassification',
    'QueryInitializer',
    'Targets',
    'TaskToken',
    'TestTimeViews',
    'TextMapper',
]
