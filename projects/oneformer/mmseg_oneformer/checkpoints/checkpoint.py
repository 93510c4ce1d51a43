"""Checkpoints: read safely, load strictly, write small.

Decisions:
* Reading never runs code of the file: ``.safetensors``, or pickles with ``weights_only=True`` (``safe.load``).
* Every form is returned as ``{'state_dict': ..., 'meta': ...}`` under our names (``conversion``); the reader is
  registered with mmengine (``startup.AFTER``), so ``load_from``, mmdet's ``init_detector`` and
  mmseg's ``init_model`` take published files as they are.
* Loading is strict. The one exception is the text branch, which a model for inference does not have; it is dropped.
"""

import copy
import json
import logging
import os
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from torch import Tensor, nn

from ..errors import UserError
from ..safe.load import checkpoint_types, drop_active_configs
from .conversion.convert import BUFFERS, FORMS, Conversion, form_of, to_ours
from .files import check_finite, read_file, unwrap, write_safetensors
from .recognition import describe_misfit

TRAINING_ONLY = ('text_mapper.', 'criterion.')
"""Prefixes of the state dict's keys that only training needs: the text branch, and the losses that read it."""


def read_checkpoint(path: str | os.PathLike[str], map_location: Any = 'cpu') -> dict[str, Any]:
    """Read weights in any public form, without running anything that is in the file.

    A OneFormer of the reference code or of transformers is returned under our names, whatever the file is called; other
    models keep theirs.

    Args:
        path: A ``.safetensors``, ``.pth``, ``.bin`` or ``.pkl`` file, or a folder of transformers; ``~`` is expanded.
        map_location: Device of the tensors, as for ``torch.load``.

    Returns:
        The checkpoint; 'state_dict' and 'meta' are always there. ``meta['converted_from']`` is 'shi' (the reference
        code) or 'hf' (transformers) if names were converted.

    Raises:
        FileNotFoundError: There is no such file.
        UserError: The file is broken, or holds something else than tensors and plain values, or numbers that are not
            finite.
    """
    return _under_our_names(read_file(path, map_location), path)


def _under_our_names(checkpoint: dict[str, Any], source: str | os.PathLike[str]) -> dict[str, Any]:
    if form_of(checkpoint['state_dict']) in (None, 'mm'):
        return checkpoint
    conversion = convert(checkpoint, source)
    return {'state_dict': conversion.state, 'meta': describe_conversion(checkpoint['meta'], conversion)}


def convert(checkpoint: Mapping[str, Any], path: str | os.PathLike[str]) -> Conversion:
    """Convert the state dict of ``read_file`` to our names, with a warning for each irregularity.

    Raises:
        UserError: It is not a complete OneFormer.
    """
    state = checkpoint['state_dict']
    form = form_of(state)
    if form is None:
        raise UserError(
            f'{path} is not a OneFormer: none of its {len(state)} tensors (such as {next(iter(state))}) has a name of '
            f'{", ".join(FORMS.values())}; give the weights of a whole model.'
        )
    if form == 'mm':
        return Conversion('mm', dict(state), used={key: key for key in state})
    try:
        conversion = to_ours(state, form)
    except ValueError as error:
        raise UserError(f'{path}: {error}') from error
    for warning in conversion.warnings:
        print_log(f'{path}: {warning}', 'current', level=logging.WARNING)
    return conversion


def describe_conversion(meta: Mapping[str, Any], conversion: Conversion) -> dict[str, Any]:
    """Return the meta of converted weights: where they come from, and buffers that cannot be computed."""
    added: dict[str, Any] = {'converted_from': conversion.form}
    if conversion.buffers:
        added[BUFFERS] = conversion.buffers
    return {**meta, **added}


def save_safetensors(
    state_dict: Mapping[str, Tensor], path: str | os.PathLike[str], meta: Mapping[str, Any], half: bool = False
) -> None:
    """Write weights and their description to a ``.safetensors`` file.

    Args:
        state_dict: Weights of a model; a shared tensor is written under each of its names.
        path: Output file; written whole or not at all.
        meta: JSON values: 'dataset_meta' (classes, thing_ids, palette) is what the inference functions need; the
            config's name, seed, iteration and versions belong here too.
        half: Store floating-point tensors as float16. They are cast back to the model's type on loading.

    Raises:
        UserError: ``meta`` is not JSON, or ``half`` would overflow.
    """
    try:
        text = json.dumps(meta)
    except TypeError as error:
        raise UserError(f'The description of the weights must be JSON: {error}.') from error
    tensors = {}
    for key, tensor in state_dict.items():
        stored = tensor.detach().cpu()
        if half and stored.is_floating_point():
            stored = stored.half()
            if not torch.equal(stored.isfinite(), tensor.detach().cpu().isfinite()):
                raise UserError(f'{key} overflows float16; write these weights with half=False.')
        tensors[key] = stored
    write_safetensors(path, tensors, {'meta': text})


def load_weights(model: nn.Module, path: str | os.PathLike[str]) -> dict[str, Any]:
    """Load weights into ``model``; anything that does not fit is an error and leaves the model unchanged.

    Args:
        model: A model, on any device; parameters keep their device and type.
        path: Weights in any form that ``read_checkpoint`` accepts.

    Returns:
        The checkpoint's meta (empty if it has none).

    Raises:
        FileNotFoundError: There is no such file.
        UserError: The file is unreadable, or belongs to another model.
    """
    checkpoint = read_checkpoint(path)
    state = {key.removeprefix('module.'): value for key, value in checkpoint.get('state_dict', {}).items()}
    own = model.state_dict()
    if not any(key.startswith(TRAINING_ONLY) for key in own):
        text_keys = [key for key in state if key.startswith(TRAINING_ONLY) and key not in own]
        for key in text_keys:
            del state[key]
        if text_keys:
            message = f'{path}: {len(text_keys)} tensors of the text branch are left out; only training needs them.'
            print_log(message, 'current', level=logging.DEBUG)
    check_fit(own, state, path)
    model.load_state_dict(state)
    return dict(checkpoint['meta'])


def check_fit(own: Mapping[str, Tensor], state: Mapping[str, Tensor], path: str | os.PathLike[str]) -> None:
    """Raise a UserError unless both state dicts have the same keys and shapes.

    If the file is another OneFormer, the message says which one, and which models fit it.
    """
    missing = [key for key in own if key not in state]
    left_over = [key for key in state if key not in own]
    if missing and all(key.startswith(TRAINING_ONLY) for key in missing) and not left_over:
        raise UserError(
            f'{path} holds weights for inference, without the text branch; build the model from for_inference(config).'
        )
    shapes = [key for key in own if key in state and own[key].shape != state[key].shape]
    misfit = describe_misfit(own, state, path)
    if misfit is not None:
        raise UserError(misfit)
    complaints = [
        f'{len(keys)} tensors {what} (such as {keys[0]})'
        for keys, what in ((missing, 'are missing'), (left_over, 'are left over'))
        if keys
    ]
    complaints += [
        f'{key} is {tuple(state[key].shape)} in the file and {tuple(own[key].shape)} in the model' for key in shapes[:1]
    ]
    if complaints:
        raise UserError(
            f'{path} is not a checkpoint of this model: {", ".join(complaints)}; give config and weights of the same '
            'model (the config of a run with --cfg-options is the one in its work dir).'
        )


def for_inference(cfg: Config) -> Config:
    """Return a copy of ``cfg`` whose model has no text branch and needs no weights to start from.

    The text branch (17.5 M parameters and the import of open_clip) is for training only; backbone weights come with
    the checkpoint.
    """
    cfg = copy.deepcopy(cfg)
    for part in ('text_mapper', 'criterion', 'init_cfg'):
        cfg.model.pop(part, None)
    backbone = cfg.model.get('backbone')
    if backbone is not None:
        for source in ('init_cfg', 'pretrained'):
            backbone.pop(source, None)
        if str(backbone.get('type')).endswith('TIMMBackbone'):
            backbone.pretrained = False  # Without it, weights are downloaded.
    return cfg


def _as_checkpoint(content: Any, url: str) -> dict[str, Any]:
    """Return what the libraries have downloaded as ``read_checkpoint`` would."""
    checkpoint = unwrap(content, url)
    check_finite(checkpoint['state_dict'], url)
    drop_active_configs(checkpoint, url)
    return _under_our_names(checkpoint, url)


def register_reader(library: Any) -> None:
    """Make every loader of the libraries read files and downloads as :func:`read_checkpoint` does.

    mmengine supports neither ``.safetensors`` nor an allow-list (so its own checkpoints cannot be resumed under
    torch >= 2.6), and its ``onedl`` fork falls back to a load that runs code.

    Args:
        library: ``mmengine.runner.checkpoint``.
    """

    def load_from_local(filename: str, map_location: Any = 'cpu') -> dict[str, Any]:
        return read_checkpoint(filename, map_location or 'cpu')

    download = torch.hub.load_state_dict_from_url

    def load_url(url: str, *args: Any, **kwargs: Any) -> Any:
        with checkpoint_types():
            return _as_checkpoint(download(url, *args, **{**kwargs, 'weights_only': True}), url)

    library.CheckpointLoader.register_scheme(prefixes='', loader=load_from_local, force=True)
    library.load_url = load_url
