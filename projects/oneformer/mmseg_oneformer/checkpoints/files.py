"""Files of weights: reading any public form, without its wrappers, and writing safetensors."""

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import MissingFileError, UserError, WriteError
from ..files import atomic_path, is_safetensors, user_path
from ..safe.load import drop_active_configs, is_pickled, safe_load
from ..zoo.weights import missing_checkpoint
from .conversion.convert import AVERAGING, form_of

WRAPPERS = ('state_dict', 'model', 'model_state_dict', 'model_state', 'ema_state_dict', 'model_ema', 'ema', 'params')
"""Keys under which a checkpoint may keep its state dict; the first one present counts."""

PREFIXES = ('module.', '_orig_mod.', 'ema_model.', 'model_ema.', 'ema.', 'model.')
"""What wrappers of the model (DDP, compile, averaging) put before every key."""

HUB_FILES = ('model.safetensors', 'model.safetensors.index.json', 'pytorch_model.bin', 'pytorch_model.bin.index.json')
"""Names of the weights in a folder of transformers, the best first."""

SHARDS = ('.safetensors', '.bin')
"""Suffixes of the parts that an index names."""


def read_file(path: str | os.PathLike[str], map_location: Any = 'cpu', finite: bool = True) -> dict[str, Any]:
    """Read a checkpoint; its names stay as they are.

    Args:
        path: A ``.safetensors``, ``.pth``, ``.bin`` or ``.pkl`` file, an index of several (``.index.json``), or a
            folder of transformers with any of these; ``~`` is expanded.
        map_location: Device of the tensors, as for ``torch.load``.
        finite: Reject weights with a NaN or an infinity, which make every prediction void.

    Returns:
        The checkpoint; 'state_dict' and 'meta' are always there, other entries only if the file is a checkpoint of
        mmengine's.

    Raises:
        FileNotFoundError: There is no such file.
        UserError: The file is broken, or holds something else than tensors and plain values, or numbers that are not
            finite.
    """
    path = user_path(path)
    if path.is_dir():
        path = _weights_in(path)
    if path.name.endswith('.index.json'):
        checkpoint = {'state_dict': without_prefix(_read_shards(path, map_location)), 'meta': {}}
    else:
        checkpoint = unwrap(_read_content(path, map_location), path)
    _check_plain(checkpoint['state_dict'], path, may_be_empty=str(map_location) == 'meta')
    if finite:
        check_finite(checkpoint['state_dict'], path)
    return checkpoint


def _check_plain(state: Mapping[str, Tensor], source: str | os.PathLike[str], may_be_empty: bool) -> None:
    """Raise a UserError that names the first tensor which is not one number after the other."""
    for key, tensor in state.items():
        empty = tensor.is_meta and not may_be_empty
        if empty or tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
            kind = 'without numbers' if empty else 'sparse, quantised or complex'
            raise UserError(f'{source}: the tensor {key} is {kind}; give weights of plain real numbers.')


def check_finite(state: Mapping[str, Tensor], source: str | os.PathLike[str]) -> None:
    """Raise a UserError that names the first tensor with a NaN or an infinity."""
    key = first_non_finite(state.items())
    if key is not None:
        raise UserError(
            f'{source}: the tensor {key} has numbers that are not finite, so the training that wrote it had diverged; '
            'give an earlier checkpoint.'
        )


def first_non_finite(tensors: Iterable[tuple[str, Any]]) -> str | None:
    """Return the name of the first tensor that holds NaN or infinity, or None; other values are passed over.

    One rule for what a training saves and what is read again. Attention masks are meant to contain infinity.
    """
    return next((name for name, tensor in tensors if isinstance(tensor, Tensor) and not _is_finite(tensor)), None)


def _is_finite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point() or not tensor.numel() or tensor.is_meta:
        return True
    # One pass without a mask of the size of the tensor; a NaN is the least and the largest.
    low, high = (tensor if tensor.itemsize > 1 else tensor.float()).aminmax()
    if low.isfinite() and high.isfinite():
        return True
    is_square = tensor.ndim >= 2 and tensor.shape[-1] == tensor.shape[-2]
    return is_square and bool(((tensor == 0) | (tensor == -math.inf)).all())


def unwrap(content: Any, source: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the checkpoint that ``content`` is or holds, with 'state_dict' and 'meta'.

    Args:
        content: What was read.
        source: File or address, for messages.

    Raises:
        UserError: There is no state dict in it.
    """
    checkpoint = _bare(content, source)
    return {**checkpoint, 'state_dict': without_prefix(checkpoint['state_dict'])}


def _bare(content: Any, source: str | os.PathLike[str]) -> dict[str, Any]:
    """Do what ``unwrap`` does, but leave the names of the tensors as they are."""
    if not isinstance(content, Mapping):
        raise UserError(f'{source} holds a {type(content).__name__}, not a state dict; give a checkpoint.')
    found = next((name for name in WRAPPERS if _is_state(content.get(name))), None)
    if found == 'state_dict':
        meta = content.get('meta')
        return {**content, 'meta': meta if isinstance(meta, Mapping) else {}}
    if found is not None or _is_state(content):
        return {'state_dict': content if found is None else content[found], 'meta': {}}
    held = ', '.join(map(str, list(content)[:5])) or 'nothing'
    raise UserError(f'{source} holds no state dict, only {held}; give a checkpoint.')


def without_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a OneFormer's state dict without prefixes of wrappers; any other state dict as it is."""
    stripped = dict(state)
    for _ in PREFIXES:
        if form_of(stripped) is not None:
            break
        keys = [key for key in stripped if key not in AVERAGING]
        prefix = next((prefix for prefix in PREFIXES if keys and all(key.startswith(prefix) for key in keys)), None)
        if prefix is None:
            break
        stripped = {key.removeprefix(prefix): stripped[key] for key in keys}
    if any(key.startswith('pixel_level_module.') for key in stripped):  # transformers' base model without its losses
        stripped = {f'model.{key}': value for key, value in stripped.items()}
    return dict(state) if form_of(stripped) is None else stripped


def write_safetensors(
    path: str | os.PathLike[str], state: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors to a ``.safetensors`` file, whole or not at all; a shared one is written under each of its names.

    Raises:
        OSError: The disk is full, or writing fails for another reason.
    """
    with atomic_path(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode
        try:
            save_file(separate(state), temporary, {'format': 'pt', **(metadata or {})})
        except SafetensorError as error:
            raise WriteError(f'{path} cannot be written ({error}); make room or choose another place.') from error
        temporary.chmod(mode)  # safetensors makes a file that only its owner can read.


def separate(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors on the CPU, each with its own storage: a view would be saved with all of its base tensor."""
    owners: set[int] = set()
    alone = {}
    for key, tensor in state.items():
        tensor = tensor.detach().cpu().contiguous()
        storage = tensor.untyped_storage()
        if storage.nbytes() != tensor.nbytes or (tensor.nbytes and storage.data_ptr() in owners):
            tensor = tensor.clone()
        owners.add(storage.data_ptr())
        alone[key] = tensor
    return alone


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(key, str) and isinstance(item, Tensor) for key, item in value.items())
    )


def _read_content(path: Path, map_location: Any) -> Any:
    """Return the content of one file of weights, including wrappers."""
    if not path.is_file():
        raise missing_checkpoint(path)
    if is_safetensors(path) or (path.suffix == '.safetensors' and not is_pickled(path)):
        return _read_safetensors(path, map_location)
    return safe_load(path, map_location)


def _read_safetensors(path: Path, map_location: Any) -> dict[str, Any]:
    try:
        # Opened on the CPU: map_location may be a function or a dict, which safetensors does not support.
        with safe_open(path, framework='pt') as file:
            meta = json.loads((file.metadata() or {}).get('meta', '{}'))
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, ValueError, RecursionError) as error:
        raise UserError(f'{path} is not a complete safetensors file ({error}); download or write it again.') from error
    if isinstance(map_location, str | torch.device):
        state = {key: tensor.to(map_location) for key, tensor in state.items()}
    checkpoint = {'state_dict': state, 'meta': meta}
    drop_active_configs(checkpoint, path)
    return checkpoint


def _read_shards(path: Path, map_location: Any) -> dict[str, Tensor]:
    """Read the files that an index of transformers names; all are beside it."""
    if not path.is_file():
        raise missing_checkpoint(path)
    try:
        names = set(json.loads(path.read_text())['weight_map'].values())
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise UserError(f'{path} is not an index of weights; get it again.') from error
    if not names:
        raise UserError(f'{path} names no files; get it again.')
    for name in names:
        # Only weights: an index that names itself, or its folder, would be read for ever.
        if not isinstance(name, str) or Path(name).name != name or Path(name).suffix not in SHARDS:
            raise UserError(f'{path} names {name!r}, which is not a file of weights beside it; get it again.')
    state: dict[str, Tensor] = {}
    for name in sorted(names):
        # Prefixes are removed from all files together: a single one may lack the names that show them.
        state |= _bare(_read_content(path.parent / name, map_location), path.parent / name)['state_dict']
    return state


def _weights_in(folder: Path) -> Path:
    for name in HUB_FILES:
        if (folder / name).is_file():
            return folder / name
    raise MissingFileError(f'{folder} has no weights; it should hold one of {", ".join(HUB_FILES)}.')
