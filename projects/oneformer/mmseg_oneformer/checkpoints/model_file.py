"""Writing a whole model as one ``.safetensors`` file; ``zoo.model_file`` reads it and states what it may hold."""

import os
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import nn

from ..safe.plain_config import parse_plain_config
from ..zoo.model_file import KEY, without_sources
from .checkpoint import save_safetensors

__all__ = ['write_model_file']


def write_model_file(path: str | os.PathLike[str], cfg: Config, model: nn.Module, dataset_meta: dict[str, Any]) -> None:
    """Write a model as a single file, whose path is all that :class:`OneFormerInferencer` and the tools need.

    Args:
        path: Ends in ``.safetensors``; written whole or not at all.
        cfg: The model's config for inference.
        model: The model.
        dataset_meta: ``classes``, ``thing_ids``, ``palette``.

    Raises:
        UserError: If the config holds more than plain literals.
    """
    pipeline = cfg.test_dataloader.dataset.pipeline
    parts = {
        'default_scope': cfg.get('default_scope', 'mmdet'),
        'model': cfg.model,
        'test_dataloader': {'dataset': {'pipeline': pipeline}},
        'test_pipeline': cfg.get('test_pipeline', pipeline),
    }
    text = Config(without_sources(Config(parts).to_dict())).pretty_text
    parse_plain_config(text)
    name = Path(cfg.filename).stem if cfg.filename else ''
    save_safetensors(model.state_dict(), path, {'config': name, KEY: text, 'dataset_meta': dataset_meta})
