"""Training machinery that mmengine lacks: exact resume, safe saving, parameter groups, command-line manners."""

from .hooks import CheckClasses, SafeCheckpointHook, StopAtInvalidLoss, latest_checkpoint
from .loops import ResumableIterLoop, seed_iteration
from .optim import CpuAmpOptimWrapper, OneFormerOptimWrapperConstructor, parameter_groups
from .picture_hooks import CurvesPicture, ValidationPictures

__all__ = [
    'CheckClasses',
    'CpuAmpOptimWrapper',
    'CurvesPicture',
    'OneFormerOptimWrapperConstructor',
    'ResumableIterLoop',
    'SafeCheckpointHook',
    'StopAtInvalidLoss',
    'ValidationPictures',
    'latest_checkpoint',
    'parameter_groups',
    'seed_iteration',
]
