"""Train and evaluate configs x seeds x options, here or through sbatch; the same command resumes an interrupted sweep.

python tools/sweep.py CONFIG CONFIG --seeds 0 1 2 --jobs 2
python tools/sweep.py CONFIG --seeds 0 1 2 --options model.head.num_queries=100 model.head.num_queries=150
python tools/sweep.py CONFIG --seeds 0 1 2 --options "train_cfg.max_iters=9000 param_scheduler.0.end=9000"
python tools/sweep.py CONFIG --seeds 0 1 2 --launcher sbatch --gpus 8 --amp
python tools/sweep.py CONFIG --seeds 0 1 2 --status

Options with the same keys are alternatives, options with different keys are combined, and keys in one pair of quotes
belong together. The same command continues with unfinished runs; failed runs need --retry-failed.
"""

import argparse
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from mmseg_oneformer.command_line import Parser, cli_errors, loading
from mmseg_oneformer.errors import UserError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Raises:
        UserError: There is nothing to run, or two flags exclude each other.
    """
    parser = Parser(description='Train and measure configs x seeds x options.')
    parser.add_argument('configs', nargs='*', help='config files, or names of models')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0], metavar='SEED', help='(default: 0)')
    parser.add_argument(
        '--options', nargs='+', default=[], metavar='KEY=VALUE', help='settings that override the config'
    )
    parser.add_argument('--work-dir', default='work_dirs/sweep', help='folder of all runs (default: work_dirs/sweep)')
    parser.add_argument('--launcher', choices=['local', 'sbatch'], default='local')
    parser.add_argument(
        '--jobs', type=int, help='local: runs at the same time (default: as many as there are GPUs, or 1)'
    )
    parser.add_argument('--gpus', type=int, help='GPUs per run (default: 1 if there are any)')
    parser.add_argument('--amp', action='store_true', help='train in mixed precision')
    parser.add_argument('--dry-run', action='store_true', help='show the commands and do nothing')
    parser.add_argument('--status', action='store_true', help='show the progress of every run and do nothing')
    parser.add_argument('--retry-failed', action='store_true', help='try failed runs again')
    parser.add_argument('--execute', metavar='FOLDER', help=argparse.SUPPRESS)  # what a job of sbatch runs
    args = parser.parse_args(argv)
    if not args.configs and args.execute is None:
        raise UserError('a sweep needs at least one config; give files or names of models.')
    if args.launcher == 'sbatch' and args.jobs is not None:
        raise UserError('--jobs is for --launcher local; the cluster decides how many jobs run.')
    return args


with loading(__name__, parse_args):
    import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

    from tqdm import tqdm

    from mmseg_oneformer.progress import Progress
    from mmseg_oneformer.sweep import (
        FAILED,
        FINISHED,
        RUNNING,
        Launch,
        Run,
        deal_devices,
        execute,
        format_status,
        format_summary,
        iterations_done,
        plan_runs,
        queued_jobs,
        read_run,
        run_here,
        state_of,
        submit,
    )
    from mmseg_oneformer.sweep.cluster import job_of
    from mmseg_oneformer.sweep.execute import forgive

TOOLS = Path(__file__).resolve().parent
LOOK_EVERY = 5.0
"""Seconds between two reads of the logs of all runs."""


def show_plan(runs: Sequence[Run], launch: Launch) -> None:
    """Print the commands that would be run."""
    for run in runs:
        print(f'{run.label}: {state_of(run)}')
        if state_of(run) != FINISHED:
            print(f'  {shlex.join(launch.train(run))}\n  {shlex.join(launch.test(run, "CHECKPOINT"))}')


def show_status(runs: Sequence[Run]) -> None:
    """Print the state of every run, and mean and spread of the finished ones."""
    jobs: set[str] = set()
    if any(job_of(run) for run in runs):
        try:
            jobs = queued_jobs()
        except ValueError as error:
            print(f'Runs in the queue of a cluster are shown as waiting: {error}')
    print(f'{format_status(runs, jobs)}\n')
    print(f'mean ± sample standard deviation over the seeds that are finished\n{format_summary(runs)}')


def report(run: Run, state: str) -> None:
    """Print one line about a run."""
    tqdm.write(f'{time.strftime("%H:%M:%S")}  {run.label}: {state}')
    sys.stdout.flush()


def run_all(runs: Sequence[Run], launch: Launch, devices: Sequence[str]) -> None:
    """Run the unfinished runs on this machine, and show the overall progress."""
    counted = [run for run in runs if run.max_iters]
    bar = Progress('sweep', sum(run.max_iters or 0 for run in counted), 'iterations')
    looked = -LOOK_EVERY

    def watch() -> None:
        nonlocal looked
        if time.monotonic() - looked >= LOOK_EVERY:
            looked = time.monotonic()
            finished = sum(state_of(run) == FINISHED for run in runs)
            bar.update(sum(map(iterations_done, counted)), f'{finished} of {len(runs)} runs finished')

    try:
        run_here(runs, launch, devices, report, watch)
    finally:
        bar.close()


def submit_all(runs: Sequence[Run], launch: Launch) -> None:
    """Submit the runs that are neither finished, running nor in the queue."""
    jobs = queued_jobs()
    for run in runs:
        if job_of(run) in jobs or state_of(run) == RUNNING:
            report(run, f'job {job_of(run)} has it')
        else:
            report(run, f'submitted as job {submit(run, launch)}')


def execute_one(args: argparse.Namespace) -> str:
    """Complete the run in a folder as far as possible, as a job of sbatch."""
    run = read_run(args.execute)
    state = execute(run, Launch(TOOLS, args.gpus or 0, args.amp), os.environ, threading.Event())
    report(run, state)
    return state


def interrupt(*_: Any) -> NoReturn:
    """End as Ctrl-C does: processes first."""
    raise KeyboardInterrupt


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Sweep."""
    args = parse_args(argv)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    if args.execute is not None:
        sys.exit(1 if execute_one(args) == FAILED else 0)
    runs = plan_runs(args.configs, args.seeds, args.options, args.work_dir)
    if args.status:
        show_status(runs)
        return
    if args.launcher == 'sbatch':
        devices: list[str] = []
        gpus = 1 if args.gpus is None else args.gpus
    else:
        devices, gpus = deal_devices(args.jobs, args.gpus)
    launch = Launch(TOOLS, gpus, args.amp)
    if args.dry_run:
        show_plan(runs, launch)
        return
    if args.retry_failed:
        for run in runs:
            if state_of(run) == FAILED:
                forgive(run)
    todo = [run for run in runs if state_of(run) not in (FINISHED, FAILED)]
    todo.sort(key=lambda run: args.seeds.index(run.seed))  # one run of everything before the second of anything
    if args.launcher == 'sbatch':
        submit_all(todo, launch)
    else:
        run_all(todo, launch, devices)
    print()
    show_status(runs)
    if any(state_of(run) == FAILED for run in runs):
        sys.exit(1)


if __name__ == '__main__':
    main()
