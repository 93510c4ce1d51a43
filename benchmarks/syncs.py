"""Where the host waits for the GPU: a run of our code on tensors that pretend to be on one, or on a real one."""

import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mmseg_oneformer.text_table import format_table

from .pretended_gpu import Wait, counted_waits, move


def count_syncs(model: Any, call: Callable[[], object]) -> list[Wait]:
    """Return each wait of ``call``, which uses ``model`` and moves its own inputs to 'cuda'; ``model`` stays there."""
    move(model.cpu())
    with counted_waits() as waits, torch.no_grad():
        call()
    return list(waits)


def warned_syncs(call: Callable[[], object]) -> list[Wait]:
    """Return each wait of ``call`` that PyTorch warns of on a real GPU; also those of a backward pass."""
    call()  # The first call compiles kernels, and waits for that.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        torch.cuda.set_sync_debug_mode('warn')
        try:
            call()
        finally:
            torch.cuda.set_sync_debug_mode('default')
    return [
        Wait('warned of', '', f'{"/".join(Path(one.filename).parts[-3:])}:{one.lineno}')
        for one in caught
        if 'synchronizing CUDA operation' in str(one.message)
    ]


def describe_syncs(title: str, waits: list[Wait]) -> str:
    """Return the waits as a table, by line of code."""
    counted = Counter(waits)
    header = [f'{title}: the host waits {len(waits)} times', 'why', 'operation', 'times']
    return format_table(header, [[w.place, w.reason, w.operation, str(times)] for w, times in counted.items()])
