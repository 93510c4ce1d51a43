"""Configs x seeds x options: planned, run here or with sbatch, resumed, and summarised as mean and spread.

A run has a folder of its own, ``work_dir/<model>/<options>/seed<k>``, and everything about it is read from there: no
process has to survive for a sweep to continue.
"""

from .cluster import queued_jobs, submit
from .execute import FAILED, FINISHED, RUNNING, WAITING, Launch, execute, state_of
from .local import deal_devices, run_here
from .plan import Run, plan_runs, read_run
from .status import format_status, format_summary, iterations_done

__all__ = [
    'FAILED',
    'FINISHED',
    'RUNNING',
    'WAITING',
    'Launch',
    'Run',
    'deal_devices',
    'execute',
    'format_status',
    'format_summary',
    'iterations_done',
    'plan_runs',
    'queued_jobs',
    'read_run',
    'run_here',
    'state_of',
    'submit',
]
