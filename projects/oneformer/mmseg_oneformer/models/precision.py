"""Number formats: of the network at inference, and of what must not be computed in half precision."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from torch import Tensor

from ..errors import UserError

DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}


def check_dtype(name: str, device: torch.device | str) -> str:
    """Return ``name`` if it is a number format that ``device`` computes in.

    Raises:
        UserError: There is no such format, or it is for GPUs only.
    """
    if name not in DTYPES:
        raise UserError(f'There is no number format {name}; choose one of {", ".join(DTYPES)}.')
    if name == 'fp16' and torch.device(device).type == 'cpu':
        raise UserError('fp16 is for GPUs only; choose bf16 on a CPU.')
    return name


def network_precision(device: torch.device, dtype: str) -> AbstractContextManager[Any]:
    """Return the context to run the network in: PyTorch's mixed precision, or none for fp32.

    Whatever is not safe in half precision (task token, sampling locations) switches it off where it is computed.
    """
    return nullcontext() if dtype == 'fp32' else torch.autocast(device.type, DTYPES[dtype])


def no_autocast(like: Tensor) -> AbstractContextManager[Any]:
    """Return the context in which nothing on the device of ``like`` is cast to half precision."""
    if like.is_meta:  # a device that autocast does not support
        return nullcontext()
    return torch.autocast(like.device.type, enabled=False)


def at_least_fp32(dtype: torch.dtype) -> torch.dtype:
    """Return ``dtype``, or fp32 if that is more precise."""
    return torch.promote_types(dtype, torch.float32)


def use_dtype(cfg: Config, dtype: str) -> None:
    """Let the model of ``cfg`` compute in a number format of ``DTYPES``."""
    cfg.model.test_cfg = ConfigDict(cfg.model.get('test_cfg') or {}, dtype=dtype)
