"""Runs on this machine, several at a time."""

import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

import torch

from ..errors import UserError
from .execute import RUNNING, Launch, execute, is_locked
from .plan import Run


def deal_devices(jobs: int | None, gpus: int | None) -> tuple[list[str], int]:
    """Return the GPUs of each job that runs at the same time, and their number.

    Args:
        jobs: How many at a time; None for one on the CPU, or as many as the GPUs allow.
        gpus: GPUs per run; None for one if there are any.

    Returns:
        A ``CUDA_VISIBLE_DEVICES`` for each job, empty on the CPU, and the number of GPUs per run.

    Raises:
        UserError: There are not enough GPUs.
    """
    there = torch.cuda.device_count()
    gpus = (1 if there else 0) if gpus is None else gpus
    if gpus < 0 or (jobs is not None and jobs < 1):
        raise UserError(f'--jobs must be at least 1 and --gpus at least 0, not {jobs} and {gpus}.')
    if not gpus:
        return [''] * (jobs or 1), 0
    if gpus > there or (jobs or 1) * gpus > there:
        raise UserError(
            f'{jobs or 1} jobs with {gpus} GPUs each need more than the {there} GPUs there are; lower --jobs or --gpus.'
        )
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    names = visible.split(',') if visible else [str(index) for index in range(there)]
    return [','.join(names[job * gpus : (job + 1) * gpus]) for job in range(jobs or there // gpus)], gpus


def job_environment(devices: str, jobs: int) -> dict[str, str]:
    """Return the environment of one of ``jobs`` jobs: its GPUs, its share of the cores, a port of its own."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    threads = max(1, (os.cpu_count() or 1) // (jobs * len(devices.split(','))))
    return {'OMP_NUM_THREADS': str(threads)} | os.environ | {'CUDA_VISIBLE_DEVICES': devices, 'PORT': str(port)}


def run_here(
    runs: Sequence[Run],
    launch: Launch,
    devices: Sequence[str],
    report: Callable[[Run, str], None] = lambda *_: None,
    watch: Callable[[], None] = lambda: None,
) -> dict[Run, str]:
    """Execute runs on this machine and return their states.

    A run that another process executes is waited for, after all others. A failure does not stop the others. On an
    interrupt (KeyboardInterrupt), the processes of all runs are ended first.

    Args:
        runs: The runs, in order.
        launch: How to start a run.
        devices: ``CUDA_VISIBLE_DEVICES`` of each job that runs at the same time.
        report: Called with a run and what happens to it: it starts, is running elsewhere, or ends in a state.
        watch: Called twice a second until all have ended.
    """
    pending, states, stop = deque(runs), dict.fromkeys(runs, ''), threading.Event()

    def work(device: str) -> None:
        while not stop.is_set():
            try:
                run = pending.popleft()
            except IndexError:
                return
            if not is_locked(run.folder):
                report(run, 'starts')
                states[run] = execute(run, launch, job_environment(device, len(devices)), stop)
                report(run, states[run])
            elif states[run] != RUNNING:
                states[run] = RUNNING
                report(run, 'another process is running it; waiting')
            if states[run] == RUNNING:
                pending.append(run)
                stop.wait(1.0)

    with ThreadPoolExecutor(len(devices)) as pool:
        try:
            futures = [pool.submit(work, device) for device in devices]
            # With a timeout, since on some systems Ctrl-C does not interrupt a wait without one.
            while wait(futures, timeout=0.5, return_when=FIRST_EXCEPTION).not_done:
                watch()
                for future in futures:
                    if future.done():
                        future.result()
        finally:
            stop.set()
    for future in futures:
        future.result()
    return states
