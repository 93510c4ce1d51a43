"""The network, its losses and its post-processing."""

from .backbones import ConvNeXt, DiNAT
from .baselines import Mask2FormerBaseline
from .criterion import OneFormerCriterion
from .decode_head import OneFormerDecodeHead
from .head import OneFormerHead
from .masked_decoder import MaskedDecoder
from .oneformer import OneFormer
from .pixel_decoder import OneFormerPixelDecoder
from .query_initializer import QueryInitializer
from .task_token import TaskToken
from .test_time_views import TestTimeViews
from .text_mapper import TextMapper

__all__ = [
    'ConvNeXt',
    'DiNAT',
    'Mask2FormerBaseline',
    'MaskedDecoder',
    'OneFormer',
    'OneFormerCriterion',
    'OneFormerDecodeHead',
    'OneFormerHead',
    'OneFormerPixelDecoder',
    'QueryInitializer',
    'TaskToken',
    'TestTimeViews',
    'TextMapper',
]
