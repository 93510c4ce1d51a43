"""Converted weights on disk: ours, the reference code's, or a folder of transformers; written whole or not at all."""

import json
import os
import shutil
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor

from ...errors import UserError
from ...files import atomic_path, write_atomic
from ..checkpoint import save_safetensors
from ..files import separate, write_safetensors
from .hub_config import CLASS_INFO, class_info, model_config, preprocessor_config

SUFFIXES = {'mm': ('.safetensors', '.pth'), 'shi': ('.pth',), 'hf': ('',)}
"""Suffixes of the output of each form; '' is a folder."""

HEAD_VERSION = {'version': 2}


def check_target(out: Path, form: str) -> None:
    """Raise a UserError unless weights of this form can be written to ``out``."""
    if out.suffix not in SUFFIXES[form]:
        wanted = ' or '.join(SUFFIXES[form]) or 'no suffix, since it becomes a folder'
        raise UserError(f'{out} cannot be OUT of --to {form}, which ends in {wanted}.')
    if form == 'hf' and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f'{out} exists and is not an empty folder; name a new one.')


def check_network(cfg: Config, owner: str) -> None:
    """Raise a UserError if ``owner``'s code would run the model of ``cfg`` as a different one without an error."""
    initializer = cfg.model.head.get('query_initializer') or {}
    if initializer.get('values', 'position') != 'position' or initializer.get('start', 'task') != 'task':
        raise UserError(f'{owner} has only the published query initializer; write mm instead.')


def write_ours(out: Path, state: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write our names to a ``.safetensors`` or ``.pth`` file."""
    if out.suffix == '.safetensors':
        save_safetensors(state, out, meta)
        return
    with atomic_path(out) as temporary:
        torch.save({'state_dict': separate(state), 'meta': dict(meta)}, temporary)


def write_reference(out: Path, state: Mapping[str, Tensor]) -> None:
    """Write a file that the reference code loads.

    Its head takes a state dict without a version for one in an older layout and silently renames keys that are already
    right, so the version has to be there.
    """
    versioned: OrderedDict[str, Tensor] = OrderedDict(separate(state))
    versioned._metadata = OrderedDict(  # type: ignore[attr-defined]
        {'': {'version': 1}, 'sem_seg_head': HEAD_VERSION, 'sem_seg_head.predictor': HEAD_VERSION}
    )
    with atomic_path(out) as temporary:
        torch.save({'model': versioned}, temporary)


def write_hub_folder(
    out: Path,
    state: Mapping[str, Tensor],
    ours: Mapping[str, Tensor],
    cfg: Config,
    dataset_meta: Mapping[str, Any],
) -> None:
    """Write a folder that ``from_pretrained`` of transformers reads.

    Args:
        out: The folder, which does not exist yet or is empty.
        state: Weights under the names of transformers.
        ours: The same weights under our names, from which the settings are read.
        cfg: Config of the model.
        dataset_meta: Has ``classes`` and ``thing_ids``.
    """
    classes = dataset_meta['classes']
    num_context = (cfg.model.get('text_mapper') or {}).get('num_context', 16)
    num_texts = len(ours['head.query_embed.weight']) - num_context
    texts = {
        'config.json': model_config(ours, cfg, classes),
        'preprocessor_config.json': preprocessor_config(cfg, len(classes), num_texts),
        CLASS_INFO: class_info(classes, dataset_meta['thing_ids']),
    }
    temporary = out.with_name(f'.{out.name}.{os.getpid()}')
    temporary.mkdir(parents=True)
    try:
        for name, content in texts.items():
            write_atomic(temporary / name, json.dumps(content, indent=2) + '\n')
        write_safetensors(temporary / 'model.safetensors', state)
        temporary.replace(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
