"""Plain pickles of arrays, as detectron2 distributes weights (``.pkl``), read without running them.

Decisions:
* Nothing that the file names is called. Each of the few names such a file needs is replaced by a stand-in from this
  module that takes data only; every other name is rejected.
* Arrays are not rebuilt by numpy's own routine, which trusts what the file states about a type.
* Arrays are returned as tensors. Files may be written by Python 2 or 3, numpy 1 or 2, and some hold torch's tensors.
"""

import io
import pickle
import re
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import UserError

ROLES = {
    'numpy': {'ndarray': 'array', 'dtype': 'dtype'},
    'numpy.core.multiarray': {'_reconstruct': 'new_array', 'scalar': 'scalar'},
    'numpy._core.multiarray': {'_reconstruct': 'new_array', 'scalar': 'scalar'},
    'numpy.core.numeric': {'_frombuffer': 'from_buffer'},
    'numpy._core.numeric': {'_frombuffer': 'from_buffer'},
    '_codecs': {'encode': 'encode'},
    '__builtin__': {'bytes': 'no_bytes'},
    'collections': {'OrderedDict': 'ordered_dict'},
    'torch._utils': {'_rebuild_tensor_v2': 'tensor', '_rebuild_parameter': 'parameter'},
    'torch.storage': {'_load_from_bytes': 'storage'},
}
"""Which stand-in replaces a name; numpy 1 says ``core`` where numpy 2 says ``_core``."""


class _DType:
    """A plain number type. The state adds the order of the bytes."""

    def __init__(self, name: str | bytes, align: bool = False, copy: bool = False) -> None:
        text = name.decode('ascii') if isinstance(name, bytes) else str(name)
        if not re.fullmatch(r'[<>=|]?(?:[fiu][1248]|b1|\?)', text):
            raise pickle.UnpicklingError(f'the type {text!r} of an array is rejected')
        self.value = np.dtype(text)

    def __setstate__(self, state: tuple) -> None:
        if state[1] in ('>', b'>'):
            self.value = self.value.newbyteorder('>')


class _Array:
    """An array, empty when created by ``_reconstruct``, filled by its state."""

    def __init__(self) -> None:
        self.value = np.empty(0)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, content = state
        self.value = _from_buffer(content, dtype, shape, 'F' if fortran else 'C').value


def _new_array(kind: type, shape: tuple, dtype: Any) -> _Array:
    if kind is not _Array:
        raise pickle.UnpicklingError('an array that is not an ndarray is rejected')
    return _Array()


def _from_buffer(content: Any, dtype: Any, shape: tuple[int, ...], order: str) -> _Array:
    if not isinstance(dtype, _DType):
        raise pickle.UnpicklingError('an array without a number type is rejected')
    if isinstance(content, str):  # Python 2's bytes
        content = content.encode('latin1')
    array = _Array()
    array.value = np.frombuffer(bytes(content), dtype.value).reshape(shape, order='F' if order == 'F' else 'C')
    return array


def _scalar(dtype: Any, content: Any) -> _Array:
    return _from_buffer(content, dtype, (), 'C')


def _encode(text: str, codec: str = 'latin1') -> bytes:
    if codec not in ('latin1', 'latin-1', b'latin1'):
        raise pickle.UnpicklingError(f'the codec {codec!r} is rejected')
    return text.encode('latin1')


def _no_bytes() -> bytes:
    """Return b'', which old protocols write as a call without arguments."""
    return b''


def _storage(content: Any) -> Any:
    data = content.encode('latin1') if isinstance(content, str) else bytes(content)
    return torch.load(io.BytesIO(data), map_location='cpu', weights_only=True)


def _tensor(storage: Any, offset: int, size: tuple, stride: tuple, *_: Any) -> torch.Tensor:
    if not isinstance(storage, torch.storage.TypedStorage):
        raise pickle.UnpicklingError('a tensor without a storage is rejected')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # torch has deprecated the storages in such a file.
        return torch.tensor([], dtype=storage.dtype).set_(storage._untyped_storage, offset, size, stride)


def _parameter(data: Any, *_: Any) -> Any:
    return data


STAND_INS: dict[str, Any] = {
    'array': _Array,
    'dtype': _DType,
    'new_array': _new_array,
    'scalar': _scalar,
    'from_buffer': _from_buffer,
    'encode': _encode,
    'no_bytes': _no_bytes,
    'ordered_dict': OrderedDict,
    'tensor': _tensor,
    'parameter': _parameter,
    'storage': _storage,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        role = ROLES.get(module, {}).get(name)
        if role is None:
            raise pickle.UnpicklingError(f'{module}.{name} is rejected')
        return STAND_INS[role]


def load_arrays(path: Path) -> Any:
    """Return what was pickled to ``path``: dicts, lists and plain values, every array as a tensor.

    Raises:
        UserError: The file is broken, or names something that arrays do not need.
    """
    with path.open('rb') as file:
        try:
            return _tensors(_Reader(file, encoding='latin1').load())
        except pickle.UnpicklingError as error:
            raise UserError(
                f'{path} is rejected or broken: {str(error).rstrip(".")}; a file of weights holds arrays and plain '
                'values only, get it from its authors again.'
            ) from error
        except Exception as error:  # Damaged bytes can raise anything, those of an array when it becomes a tensor.
            raise UserError(f'{path} is broken ({type(error).__name__}); get it again.') from error


def _tensors(content: Any) -> Any:
    """Replace stand-ins by tensors, in containers of any depth."""
    if isinstance(content, _Array):
        return torch.from_numpy(np.array(content.value.astype(content.value.dtype.newbyteorder('='))))
    if isinstance(content, dict):
        return {key: _tensors(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_tensors(value) for value in content]
    return content
