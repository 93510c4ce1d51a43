"""Where the host waits for the GPU: a run of our code on tensors that pretend to be on one."""

from collections import Counter
from collections.abc import Callable
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


def describe_syncs(title: str, waits: list[Wait]) -> str:
    """Return the waits as a table, by line of code."""
    counted = Counter(waits)
    header = [f'{title}: the host waits {len(waits)} times', 'why', 'operation', 'times']
    return format_table(header, [[w.place, w.reason, w.operation, str(times)] for w, times in counted.items()])
