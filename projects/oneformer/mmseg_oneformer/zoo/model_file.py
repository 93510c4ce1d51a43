"""One ``.safetensors`` file that is a whole model: weights, config and class names.

Decisions:
* The config is text of plain literals. It is parsed and never run; it is stored under a name where mmengine, which runs
  such texts, does not look.
* mmengine's registries import any dotted name given as a ``type``, even ``subprocess.run``. A file may name only types
  that are registered; of the libraries' only parts of networks and steps of pipelines, since some whole detectors
  (those that learn from a teacher) run a config file whose path they are given.
* Only what inference needs is stored: the model without initialisation, and the steps from a photo to the network.
"""

import importlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import MODELS, TRANSFORMS, Registry
from safetensors import SafetensorError, safe_open

from ..errors import UserError
from ..files import is_safetensors
from ..safe.plain_config import parse_plain_config
from ..startup import MODULE_OF

__all__ = ['checked_config', 'is_model_file', 'read_model_config', 'without_sources']

KEY = 'config_text'
"""Key of the config in the description of the weights."""

LIBRARIES = ('mmcv', 'mmdet', 'mmengine', 'mmpretrain', 'mmseg')
PARTS = re.compile(
    r'mmcv\.(cnn|ops|transforms)\.|mmengine\.model\.base_model\.|mm(det|seg|pretrain)\.('
    r'models\.(backbones\.(?!vpd|timm_backbone)|layers\.|data_preprocessors?\.|utils\.)|'
    r'datasets\.transforms\.(transforms|formatting)$)'
)
"""Modules of the libraries whose classes open no file that a config names; some of mmseg's losses do, even pickles."""

OURS = {'BN', 'SyncBN', *MODULE_OF['model'], *MODULE_OF['transform']}
"""Names that a file may use without a check of the libraries: our parts, and the norms of our ResNet."""

SOURCES = ('init_cfg', 'pretrained', 'backend_args', 'file_client_args', '_scope_')
"""Settings that a file cannot have. One of mmengine's storage backends imports from a folder that it is given."""


def is_model_file(path: str | os.PathLike[str]) -> bool:
    """Return whether ``path`` is a file that may be a whole model: safetensors, by its suffix or by its content."""
    return Path(path).is_file() and (Path(path).suffix == '.safetensors' or is_safetensors(path))


def read_model_config(path: str | os.PathLike[str]) -> Config:
    """Return the config that a file of :func:`~..checkpoints.model_file.write_model_file` holds.

    Raises:
        UserError: If the file is broken, holds only weights, or a config that is more than settings.
    """
    try:
        with safe_open(path, framework='pt') as file:
            text = json.loads((file.metadata() or {}).get('meta', '{}')).get(KEY)
    except (SafetensorError, ValueError, AttributeError, RecursionError) as error:
        raise UserError(f'{path} is not a complete safetensors file ({error}); download or write it again.') from error
    if not isinstance(text, str):
        raise UserError(f'{path} holds only weights; give the name or config of its model, and the file as weights.')
    return checked_config(text, path)


def checked_config(text: str, path: str | os.PathLike[str]) -> Config:
    """Return what inference needs from a config's text, which was found in the file ``path``.

    Raises:
        UserError: If it is more than settings.
    """
    try:
        settings = parse_plain_config(text)
        steps = settings['test_dataloader']['dataset']['pipeline']
        parts = without_sources(
            {
                'default_scope': settings.get('default_scope', 'mmdet'),
                'model': settings['model'],
                'test_dataloader': {'dataset': {'pipeline': steps}},
                'test_pipeline': settings.get('test_pipeline', steps),
            }
        )
        if not steps or not all(isinstance(part, dict) and 'type' in part for part in (parts['model'], *steps)):
            raise UserError('it has no model or no pipeline')
        strange = sorted({str(kind) for kind in _types(parts)} - OURS)
        if strange:  # The libraries' parts are known once they have been imported, which takes seconds.
            for module in ('mmcv.cnn', 'mmcv.transforms', 'mmdet.registry', 'mmseg.registry'):
                importlib.import_module(module)
            known = {name for registry in (MODELS, TRANSFORMS) for name in _registered(registry)}
            strange = [kind for kind in strange if kind not in known]
        if parts['default_scope'] not in LIBRARIES:  # mmengine imports it.
            raise UserError(f'its default_scope is {parts["default_scope"]!r}')
        if strange:
            raise UserError(f'it names {", ".join(strange)}, which a file may not name')
        return Config(parts, text, filename=str(path))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(
            f'The config in {path} is rejected: {error}; give the name or config of its model, and the file as weights.'
        ) from error


def without_sources(value: Any) -> Any:
    """Return the config without settings that name files, addresses or storages to read, or packages to import."""
    if isinstance(value, dict):
        return {key: without_sources(part) for key, part in value.items() if key not in SOURCES}
    if isinstance(value, list | tuple):
        return type(value)(without_sources(part) for part in value)
    return value


def _types(value: Any) -> Iterator[Any]:
    """Yield every ``type`` of a nested config."""
    if isinstance(value, dict):
        if 'type' in value:
            yield value['type']
        value = list(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            yield from _types(part)


def _registered(registry: Registry) -> Iterator[str]:
    """Yield every name that a file may use in a registry and those below it, with and without the library's prefix."""
    registry.import_from_location()
    for name, kind in registry.module_dict.items():
        module = getattr(kind, '__module__', '')
        if module.partition('.')[0] not in LIBRARIES or PARTS.match(module):
            yield from (name, f'{registry.scope}.{name}')
    for child in registry.children.values():
        yield from _registered(child)
