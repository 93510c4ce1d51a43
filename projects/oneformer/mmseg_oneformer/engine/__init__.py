"""Training machinery that mmengine lacks: exact resume, safe saving, parameter groups, command-line manners."""

from .hooks import CheckClasses, SafeCheckpointHook, StopAtInvalidLoss, latest_checkpoint
from .loops import ResumableIterLoop, seed_iteration
from .optim import CpuAmpOptimWrapper, OneFormerOptimWrapperConstructor, parameter_groups

__all__ = [
    'CheckClasses',
    'CpuAmpOptimWrapper',
    'OneFormerOptimWrapperConstructor',
    'ResumableIterLoop',
    'SafeCheckpointHook',
    'StopAtInvalidLoss',
    'latest_checkpoint',
    'parameter_groups',
    'seed_iteration',
]
