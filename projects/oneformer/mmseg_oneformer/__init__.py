"""OneFormer in OpenMMLab: one model, trained once, predicts semantic, instance and panoptic segmentation.

Importing the package imports little: it makes the installed OpenMMLab stack importable and every class of ours findable
in the registries (``startup``). What is named here is imported when it is first used.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

from . import startup
from .version import __version__

if TYPE_CHECKING:
    from .apis.inferencer import OneFormerInferencer
    from .engine.evaluating import evaluate
    from .engine.training import train

startup.setup()

__all__ = ['OneFormerInferencer', '__version__', 'evaluate', 'train']

_MODULES = {'OneFormerInferencer': 'apis.inferencer', 'evaluate': 'engine.evaluating', 'train': 'engine.training'}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        # With its name and object Python adds "Did you mean".
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}', name=name, obj=sys.modules[__name__])
    return getattr(importlib.import_module(f'{__name__}.{_MODULES[name]}'), name)


def __dir__() -> list[str]:
    return __all__
