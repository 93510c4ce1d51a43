"""The only file, beside ``libraries/``, that knows quirks of library versions.

Decisions:
* mmdet and mmseg import ``mmcv.ops`` at import time, and the official wheel of mmcv (``mmcv-lite``) has no compiled
  operators. A placeholder for the compiled module stands in while ``mmcv.ops`` is imported and is removed again: left
  in place it makes mmengine's test for compiled operators fail.
* Every loader of the libraries reads through ours (``safe.load``), whatever the library does itself.
* ``mmengine``, ``mmcv``, ``mmdet`` and ``mmseg`` may be the official wheels or the maintained ``onedl-*`` forks, which
  have the same import names.
"""

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple, NoReturn

import torch

from .errors import MissingPackageError
from .files import write_atomic
from .safe.load import checkpoint_types

HAS_TRITON = importlib.util.find_spec('triton') is not None
"""Triton comes with PyTorch's builds for GPUs."""

INSTALL_HINT = "pip install -e '.[openmmlab]'"


class _NoOperators(ModuleType):
    """Stands in for ``mmcv._ext``: every operator exists and raises when it is called."""

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        if name.startswith('__'):
            raise AttributeError(name)

        def missing(*args: Any, **kwargs: Any) -> NoReturn:
            raise NotImplementedError(
                f'mmcv was installed without compiled operators, so "{name}" cannot run; OneFormer does not need it, '
                f'another model of your config does: install a compiled mmcv for it.'
            )

        return missing


def _has_compiled_operators() -> bool:
    """Return whether ``mmcv._ext`` is there *and* loads; one built for another torch does not."""
    if importlib.util.find_spec('mmcv._ext') is None:
        return False
    try:
        importlib.import_module('mmcv._ext')
    except (ImportError, OSError) as error:
        warnings.warn(f'The compiled operators of mmcv do not load and are not used: {error}', stacklevel=2)
        return False
    return True


def import_mmcv_ops() -> None:
    """Import ``mmcv.ops`` whether or not mmcv has compiled operators."""
    if 'mmcv.ops' in sys.modules or _has_compiled_operators():
        return
    sys.modules['mmcv._ext'] = _NoOperators('mmcv._ext')
    try:
        importlib.import_module('mmcv.ops')
    finally:
        del sys.modules['mmcv._ext']


def check_versions() -> None:
    """Raise an ImportError that says what to install if a library is missing or too old.

    Raises:
        ImportError: A library is missing or of a version that cannot work.
    """
    if tuple(int(part) for part in torch.__version__.split('.')[:2]) < (2, 6):
        raise MissingPackageError(
            f'torch {torch.__version__} is too old to read checkpoints safely; install torch 2.6 or newer '
            '(pip install -U torch torchvision).'
        )
    for name in ('mmengine', 'mmcv', 'mmdet', 'mmseg'):
        if importlib.util.find_spec(name) is None:
            raise MissingPackageError(f'{name} is not installed; install the OpenMMLab wheels with: {INSTALL_HINT}')


def _import_openmmlab() -> None:
    """Import mmdet and mmseg; their version asserts become sentences."""
    try:
        import_mmcv_ops()
        for name in ('mmdet', 'mmseg'):
            importlib.import_module(name)
    except AssertionError as error:
        raise MissingPackageError(f'{error} The combination we test is installed by: {INSTALL_HINT}') from error


def register_checkpoint_reader(
    read: Callable[[str, Any], dict[str, Any]], unwrap: Callable[[Any, str], dict[str, Any]]
) -> None:
    """Make every loader of the libraries use ``read`` for local files, and ``unwrap`` what they download safely.

    mmengine knows neither ``.safetensors`` nor an allow-list (so its own checkpoints cannot be resumed under
    torch >= 2.6), and the fork falls back to a load that runs code.
    """
    from mmengine.runner import checkpoint as library
    from mmengine.runner.checkpoint import CheckpointLoader

    def load_from_local(filename: str, map_location: Any = 'cpu') -> dict[str, Any]:
        return read(filename, map_location or 'cpu')

    download = torch.hub.load_state_dict_from_url

    def load_url(url: str, *args: Any, **kwargs: Any) -> Any:
        with checkpoint_types():
            return unwrap(download(url, *args, **{**kwargs, 'weights_only': True}), url)

    CheckpointLoader.register_scheme(prefixes='', loader=load_from_local, force=True)
    library.load_url = load_url


def _write_files_atomically() -> None:
    """Let mmengine's local storage write whole files only: a kill while saving leaves no broken checkpoint."""
    from mmengine.fileio import LocalBackend, register_backend

    class AtomicLocalBackend(LocalBackend):
        """mmengine's local files, written beside and moved into place."""

        def put(self, obj: bytes, filepath: str | Path) -> None:
            """Write bytes to ``filepath``, whole or not at all."""
            write_atomic(filepath, obj)

        def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
            """Write text to ``filepath``, whole or not at all."""
            write_atomic(filepath, obj.encode(encoding))

    register_backend('local', AtomicLocalBackend, force=True, prefixes='')


def register_activation_checkpointing(checkpoint: Callable[..., Any]) -> None:
    """Make mmdet's backbones with ``with_cp=True`` call ``checkpoint(layer, *inputs)``.

    They leave it to PyTorch which form it is, which warns at each start and will raise one day.
    """
    from mmdet.models.backbones import resnet, swin

    for module in (resnet, swin):
        module.cp = SimpleNamespace(checkpoint=checkpoint)


def is_exporting() -> bool:
    """Return whether a graph is being exported; torch 2.6 says so of the older ONNX exporter only."""
    exporting = hasattr(torch.compiler, 'is_exporting') and torch.compiler.is_exporting()
    return exporting or torch.onnx.is_in_onnx_export()


@lru_cache
def compiled_ms_deform_attn() -> Any | None:
    """Return mmcv's autograd function of multi-scale deformable attention, or None where mmcv has no compiled ones."""
    if not _has_compiled_operators():
        return None
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

    return MultiScaleDeformableAttnFunction


class NattenOperators(NamedTuple):
    """Both halves of natten's neighbourhood attention; maps are (B, heads, H, W, D)."""

    query_key: Callable[..., Any]
    """(query, key, rpb, kernel_size, dilation) -> logits (B, heads, H, W, K*K)."""
    weights_value: Callable[..., Any]
    """(weights, value, kernel_size, dilation) -> (B, heads, H, W, D)."""


@lru_cache
def natten_operators() -> NattenOperators | None:
    """Return natten's operators, or None where it is not installed or has none with relative position biases.

    0.14 and 0.15 have ``natten2dqkrpb``; 0.17 has ``na2d_qk`` and warns at each call of the old name; 0.20 has neither.
    """
    if importlib.util.find_spec('natten') is None:
        return None
    try:
        functional = importlib.import_module('natten.functional')
    except (ImportError, OSError, RuntimeError) as error:  # Built for another torch, or without its library.
        warnings.warn(f'natten is installed, does not load and is not used: {error}', stacklevel=2)
        return None
    if hasattr(functional, 'natten2dqkrpb') and hasattr(functional, 'na2d_qk'):
        return NattenOperators(
            lambda query, key, rpb, kernel_size, dilation: functional.na2d_qk(
                query, key, kernel_size, dilation, rpb=rpb
            ),
            functional.na2d_av,
        )
    if hasattr(functional, 'natten2dqkrpb'):
        return NattenOperators(functional.natten2dqkrpb, functional.natten2dav)
    return None


def setup() -> None:
    """Prepare the installed stack; called once when the package is imported."""
    check_versions()
    _import_openmmlab()
    _write_files_atomically()
