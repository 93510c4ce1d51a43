"""Number formats: of the network at inference, and of what must not be computed in half precision."""

import time
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from torch import Tensor

from ..errors import UserError

SLOW_BF16 = 1.5
"""The ratio of times above which bf16 is rejected: what is measured below may be noise."""
DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}


def check_dtype(name: str, device: torch.device | str) -> str:
    """Return ``name`` if it is a number format that ``device`` computes in.

    Raises:
        UserError: There is no such format, it is for GPUs only, or fp32 is faster.
    """
    if name not in DTYPES:
        raise UserError(f'There is no number format {name}; choose one of {", ".join(DTYPES)}.')
    if torch.device(device).type == 'cpu':
        if name == 'fp16':
            raise UserError('fp16 is for GPUs only; choose bf16 on a CPU.')
        if name == 'bf16':
            check_bf16_is_fast()
    return name


def check_bf16_is_fast() -> None:
    """Raise a UserError if bf16 would be slower than fp32 on this CPU."""
    if (ratio := bf16_ratio()) > SLOW_BF16:
        raise UserError(
            f'A matrix product in bf16 takes {ratio:.3g} times as long as in fp32 on this CPU; leave bf16 or '
            'mixed precision out.'
        )


@lru_cache
def bf16_ratio() -> float:
    """Return how many times as long as in fp32 a matrix product in bf16 takes on this CPU; measured once, in 0.1 s.

    Names of processors do not tell: it depends on PyTorch's libraries, too.
    """

    def seconds(dtype: torch.dtype) -> float:
        left, right = torch.ones(256, 512, dtype=dtype), torch.ones(512, 512, dtype=dtype)
        times = []
        with torch.inference_mode(), torch.autocast('cpu', enabled=False):
            for _ in range(5):  # The first prepares the library.
                start = time.perf_counter()
                torch.nn.functional.linear(left, right)
                times.append(time.perf_counter() - start)
        return min(times)

    return seconds(torch.bfloat16) / seconds(torch.float32)


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
