"""Where the time goes: named parts of a call, for a table and for a trace."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from mmseg_oneformer.files import atomic_path

from .measure import Measured, Samples

Part = Callable[[str], AbstractContextManager[Any]]
"""Returns the context for a part of a call, from the part's name."""


def no_part(name: str) -> AbstractContextManager[None]:
    """Measure nothing: the context of a part in timed runs."""
    return nullcontext()


def split(
    call: Callable[[Part], object],
    modules: Mapping[str, nn.Module],
    device: torch.device | str,
    runs: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Measured]:
    """Run ``call`` and time its parts.

    Args:
        call: Does the work; opens a block ``part(name)`` around each part of it that is not a module.
        modules: Further parts by name, each the time inside its forward passes.
        device: Where the work is done; a GPU is synchronised at both ends of a part, so that parts do not overlap.
        runs: Number of runs.
        clock: Returns seconds.

    Returns:
        Every part in the order in which they first ended, then 'rest', the time outside all parts.
    """
    device = torch.device(device)
    taken: list[dict[str, float]] = []

    def now() -> float:
        if device.type == 'cuda':
            torch.cuda.synchronize(device)
        return clock()

    @contextmanager
    def part(name: str) -> Iterator[None]:
        start = now()
        try:
            yield
        finally:
            taken[-1][name] = taken[-1].get(name, 0.0) + now() - start

    with _around(modules, part):
        for _ in range(runs):
            taken.append({})
            start = now()
            kept = call(part)
            total = now() - start
            del kept
            taken[-1]['rest'] = total - sum(taken[-1].values())
    return {name: Measured(Samples(tuple(run[name] for run in taken), None), None) for name in taken[0]}


def write_trace(
    call: Callable[[Part], object],
    modules: Mapping[str, nn.Module],
    device: torch.device | str,
    path: str | os.PathLike[str],
) -> None:
    """Write a trace of one run of ``call`` that chrome://tracing and Perfetto open, with its parts as named blocks."""
    activities = [ProfilerActivity.CPU]
    if torch.device(device).type == 'cuda':
        activities.append(ProfilerActivity.CUDA)
    with _around(modules, record_function):
        call(record_function)  # The first run allocates and compiles.
        with profile(activities=activities) as profiler:
            call(record_function)
    with atomic_path(path) as temporary:
        profiler.export_chrome_trace(str(temporary))


@contextmanager
def _around(modules: Mapping[str, nn.Module], part: Part) -> Iterator[None]:
    """Run the forward pass of each module inside a ``part`` with its name."""
    open_blocks: list[AbstractContextManager[Any]] = []

    def begin(name: str) -> None:
        block = part(name)
        block.__enter__()
        open_blocks.append(block)

    def end() -> None:
        open_blocks.pop().__exit__(None, None, None)

    with ExitStack() as stack:
        for name, module in modules.items():
            before = module.register_forward_pre_hook(lambda *_, name=name: begin(name))
            stack.callback(before.remove)
            after = module.register_forward_hook(lambda *_: end())
            stack.callback(after.remove)
        yield
