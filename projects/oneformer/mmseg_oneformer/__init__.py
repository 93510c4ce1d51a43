"""OneFormer in OpenMMLab: one model, trained once, predicts semantic, instance and panoptic segmentation.

Importing the package first makes the installed OpenMMLab stack importable (``compat``), then registers every class of
ours in mmengine's root registries.
"""

from . import compat

compat.setup()

from . import models, datasets, evaluation, engine, visualization  # noqa: E402, I001
from .checkpoints import checkpoint  # noqa: E402, F401  (registers the safe reader)
from .libraries.inferencers import PATCHES, AfterImport  # noqa: E402
from .version import __version__  # noqa: E402

AfterImport(PATCHES).install()

__all__ = ['__version__', 'compat', 'datasets', 'engine', 'evaluation', 'models', 'visualization']
