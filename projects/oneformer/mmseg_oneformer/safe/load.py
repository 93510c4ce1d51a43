"""Pickled checkpoints without running what is in them.

``torch.load(weights_only=True)`` by itself rejects mmengine's own checkpoints (their logs are ``HistoryBuffer`` objects
of numpy arrays). The allow-list here has what a Runner writes and nothing else; ``getattr``, which such a pickle calls,
is replaced by a stand-in that accepts four names.
"""

import importlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from ..errors import UserError
from ..progress import open_large
from .pickle import load_arrays
from .plain_config import is_plain_config

ZIP, PICKLE = b'PK\x03\x04', b'\x80'
"""First bytes of what ``torch.save`` writes, and of pickles of protocol 2 and later."""
TORCH_MAGIC = b'l\xfc\x9cF\xf9 j\xa8P\x19'
"""In the first bytes of what ``torch.save`` wrote before its archives."""
MAX_RATIO = 2


@contextmanager
def checkpoint_types() -> Iterator[None]:
    """Allow what a checkpoint of mmengine's Runner holds besides tensors and plain values, and nothing else."""
    statistics = ('min', 'max', 'mean', 'current')

    def restricted_getattr(owner: Any, name: str) -> Any:
        # HistoryBuffer pickles its statistics as getattr(HistoryBuffer, 'mean'). The real getattr would lead from any
        # allowed object to everything.
        if owner is not HistoryBuffer or name not in statistics:
            raise pickle.UnpicklingError(f'getattr of {name!r} is rejected')
        return getattr(HistoryBuffer, name)

    numpy_core = importlib.import_module('numpy._core.multiarray' if np.__version__ >= '2' else 'numpy.core.multiarray')
    allowed: list[Any] = [HistoryBuffer, np.ndarray, np.dtype, (restricted_getattr, 'builtins.getattr')]
    allowed += [type(np.dtype(kind)) for kind in ('f2', 'f4', 'f8', 'i1', 'i2', 'i4', 'i8', 'u1', '?')]
    for module in ('numpy._core.multiarray', 'numpy.core.multiarray'):  # The names that numpy 2 and numpy 1 write.
        allowed += [(numpy_core._reconstruct, f'{module}._reconstruct'), (numpy_core.scalar, f'{module}.scalar')]
    with torch.serialization.safe_globals(allowed):
        yield


def safe_load(path: Path, map_location: Any = 'cpu') -> Any:
    """Return what ``torch.save`` wrote to ``path``, or the arrays of a plain ``.pkl``; nothing in the file is run.

    Raises:
        UserError: The file is broken or holds types that a checkpoint does not need.
    """
    start = _start_of(path)
    packed = start.startswith(ZIP) and zipfile.is_zipfile(path)
    if not packed and TORCH_MAGIC not in start and (start.startswith(PICKLE) or path.suffix in ('.pkl', '.pickle')):
        return load_arrays(path)
    if packed:
        _check_packed(path)
    try:
        with checkpoint_types(), open_large(path, 'loading') as file:
            checkpoint = torch.load(file, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        rejected = re.search(r'.*(?:GLOBAL|getattr of|Can only).*', str(error))
        if rejected is None:
            raise UserError(f'{path} is broken or not a checkpoint; get it again.') from error
        raise UserError(
            f'{path} is rejected, since a checkpoint must not run code and this one holds more than tensors and plain '
            f'values ({_shorten(rejected.group())}); if you trust it, convert it to .safetensors.'
        ) from error
    except Exception as error:  # torch's readers raise whatever damaged bytes make them raise.
        reason = _shorten(str(error)) or type(error).__name__
        raise UserError(f'{path} is broken or not a checkpoint ({reason}); get it again.') from error
    if isinstance(checkpoint, dict):
        drop_active_configs(checkpoint, path)
    return checkpoint


def is_pickled(path: Path) -> bool:
    """Return whether a file begins as what ``torch.save`` or ``pickle`` write, whatever it is called."""
    return _start_of(path).startswith((ZIP, PICKLE))


def _start_of(path: Path) -> bytes:
    with path.open('rb') as file:
        return file.read(64)


def _check_packed(path: Path) -> None:
    """Reject an archive that unpacks to much more than its size: ``torch.save`` does not compress.

    Raises:
        UserError: It does, or its table of contents is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        raise UserError(f'{path} is broken or not a checkpoint ({error}); get it again.') from error
    if unpacked > MAX_RATIO * path.stat().st_size:
        raise UserError(f'{path} unpacks to {unpacked / 2**20:.0f} MB, unlike what torch.save writes; get it again.')


def drop_active_configs(checkpoint: dict[str, Any], path: str | Path) -> None:
    """Remove config texts that are more than literals: mmengine *executes* them when it resumes or runs inference."""
    hub = checkpoint.get('message_hub')
    infos = [checkpoint.get('meta'), hub.get('runtime_info') if isinstance(hub, dict) else None]
    for info in (info for info in infos if isinstance(info, dict)):
        for key in ('config', 'cfg'):
            text = info.get(key)
            # A plain name, as in published files, does nothing when it is run.
            if isinstance(text, str) and not re.fullmatch(r'[\w.-]+', text) and not is_plain_config(text):
                warnings.warn(f'The config text in {path} is code, not plain settings; it is ignored.', stacklevel=3)
                del info[key]


def _shorten(text: str) -> str:
    """Return the first sentence of a library's message, without what it suggests to switch off."""
    first_line = text.strip().partition('\n')[0]
    return first_line.split('. ')[0].split(' was not an allowed')[0].strip().rstrip('.:')
