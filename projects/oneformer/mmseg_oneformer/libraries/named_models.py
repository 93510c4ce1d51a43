"""Our models by name, for the libraries: ``DetInferencer(NAME)``, and weights as ``'oneformer://NAME'``."""

from typing import Any

from mmengine.config import Config

from ..checkpoints.checkpoint import for_inference, read_checkpoint
from ..datasets.metainfo import metainfo_of
from ..zoo.configs import read_config
from ..zoo.weights import resolve_weights

PREFIX = 'oneformer://'
"""Before a model's name, it denotes the model's weights, as ``'torchvision://resnet50'`` does torchvision's."""


def is_our_name(name: str) -> bool:
    """Return whether ``name`` is meant to be one of our models: they all begin with 'oneformer_'."""
    return name.lower().startswith('oneformer_')


def read_named_config(name: str) -> Config:
    """Return the config of a model for inference, without the text branch.

    Raises:
        UserError: No model has this name; the message names the nearest ones.
    """
    return for_inference(read_config(name))


def load_from_oneformer(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Read the weights of ``'oneformer://NAME'``: shipped, cached, or downloaded; a loader of mmengine.

    Published files do not name their classes; the config does, and its names become ``meta['dataset_meta']``.

    Args:
        filename: The prefix and the name of a model.
        map_location: Device of the tensors, the CPU by default.

    Raises:
        UserError: No model has this name, or it has no weights.
        ConnectionError: The weights cannot be downloaded.
    """
    name = filename.removeprefix(PREFIX)
    checkpoint = read_checkpoint(resolve_weights(name), map_location or 'cpu')
    names = metainfo_of(read_config(name).test_dataloader.dataset)
    return {**checkpoint, 'meta': {'dataset_meta': names, **checkpoint['meta']}}


def register_names(library: Any) -> None:
    """Let mmengine's loader of checkpoints, in the module ``library``, take our models by name."""
    library.CheckpointLoader.register_scheme(prefixes=PREFIX, loader=load_from_oneformer, force=True)
