"""Runs submitted with sbatch: one job per run, on one node."""

import os
import shlex
import subprocess
from collections.abc import Sequence

from ..errors import UserError
from ..files import write_atomic
from .execute import Launch
from .plan import Run, write_run

CORES_PER_TASK = 5


def script_of(run: Run, launch: Launch) -> str:
    """Return the batch script of a run.

    Partition, account, time and the like are left to sbatch's own variables (``SBATCH_PARTITION``, ``SBATCH_ACCOUNT``,
    ``SBATCH_TIMELIMIT``).
    """
    cores = int(os.environ.get('CPUS_PER_TASK', CORES_PER_TASK)) * max(1, launch.gpus)
    flags = ['--execute', str(run.folder), '--gpus', str(launch.gpus), *(['--amp'] if launch.amp else [])]
    lines = [
        '#!/usr/bin/env bash',
        f'#SBATCH --job-name={run.name}-seed{run.seed}',
        f'#SBATCH --output="{run.folder.resolve()}/slurm-%j.log"',
        '#SBATCH --ntasks=1',
        f'#SBATCH --cpus-per-task={cores}',
        *([f'#SBATCH --gres=gpu:{launch.gpus}'] if launch.gpus else []),
        f'exec {shlex.join([launch.python, str(launch.tools.resolve() / "sweep.py"), *flags])}',
    ]
    return '\n'.join(lines) + '\n'


def submit(run: Run, launch: Launch) -> str:
    """Submit a run and return the id of its job, which is stored in the run's folder.

    Raises:
        UserError: sbatch is not installed, or rejected the job.
    """
    write_run(run)
    script = run.folder / 'job.sh'
    write_atomic(script, script_of(run, launch))
    number = _ask(['sbatch', '--parsable', str(script)]).strip().partition(';')[0]
    write_atomic(run.folder / 'job', number + '\n')
    return number


def queued_jobs() -> set[str]:
    """Return the ids of the user's jobs that are waiting or running.

    Raises:
        UserError: squeue is not installed, or fails: without it, dead jobs cannot be told from waiting ones.
    """
    return set(_ask(['squeue', '--noheader', '--format=%A', f'--user={os.getuid()}']).split())


def job_of(run: Run) -> str | None:
    """Return the id of the job that a run was last submitted as, or None."""
    path = run.folder / 'job'
    return path.read_text().strip() if path.is_file() else None


def _ask(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise UserError(f'{command[0]} was not found; --launcher sbatch works only on a SLURM cluster.') from error
    if done.returncode:
        raise UserError(f'{command[0]} failed: {done.stderr.strip() or done.stdout.strip()}.')
    return done.stdout
