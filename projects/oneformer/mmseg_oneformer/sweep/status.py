"""A sweep at a glance: the state of each run, and the results of the finished ones."""

import json
import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..evaluation.results import HEADLINES, OWN, own_token_metrics
from ..text_table import format_number, format_table
from .cluster import job_of
from .execute import FAILED, FINISHED, RUNNING, WAITING, read_state, state_of
from .plan import Run


class Progress(NamedTuple):
    """The last line that training has logged."""

    iteration: int
    loss: float
    seconds: float
    """Per iteration."""


def format_status(runs: Sequence[Run], jobs: Collection[str] = ()) -> str:
    """Return a table with a line for each run, and the errors of the failed ones below it.

    Args:
        runs: All runs of the sweep.
        jobs: Ids of the jobs that are in the cluster's queue.
    """
    states = {run: state_of(run) for run in runs}
    common = common_options(runs)
    rows = [[f'{title_of(run, common)}  seed {run.seed}', *_cells(run, states[run], jobs)] for run in runs]
    table = format_table(['run', 'state', 'iteration', 'time left', 'loss', *HEADLINES], rows)
    counts = ', '.join(
        f'{sum(found == state for found in states.values())} {state}' for state in (WAITING, RUNNING, FINISHED, FAILED)
    )
    errors = []
    for run in runs:
        if states[run] == FAILED:
            state = read_state(run.folder)
            errors.append(f'{state["step"]} failed: {state["error"]} ({run.folder}/{state["step"]}.log)')
    everywhere = [f'with {" ".join(common)}'] if common else []
    return '\n'.join([table, '', f'{len(runs)} runs: {counts}', *everywhere, *errors])


def common_options(runs: Sequence[Run]) -> tuple[str, ...]:
    """Return the options that all runs have, which a table need not repeat."""
    shared = set.intersection(*[set(run.options) for run in runs])
    return tuple(option for option in runs[0].options if option in shared)


def title_of(run: Run, common: Collection[str]) -> str:
    """Return the model's name and the options that not all runs have."""
    return '  '.join([run.name, *[option for option in run.options if option not in common]])


def _cells(run: Run, state: str, jobs: Collection[str]) -> list[float | str | None]:
    progress, done = read_progress(run.folder), iterations_done(run)
    remaining = '-'
    if state == RUNNING and progress and run.max_iters:
        remaining = format_seconds((run.max_iters - done) * progress.seconds)
    metrics = read_metrics(run.folder) if state == FINISHED else {}
    job = job_of(run)
    note = f' (job {job})' if state != FINISHED and job in jobs else ''
    return [
        state + note,
        f'{done}/{run.max_iters or "?"}',
        remaining,
        f'{progress.loss:.3f}' if progress else '-',
        *[metrics.get(name) for name in HEADLINES],
    ]


def iterations_done(run: Run) -> int:
    """Return how many iterations a run has trained.

    The log of a finished run ends at its last interval, which need not be its last iteration.
    """
    results = run.folder / 'results.json'
    trained = _read_results(run.folder).get('iteration') if results.is_file() else None
    progress = read_progress(run.folder)
    return trained or (progress.iteration if progress else 0)


def format_summary(runs: Sequence[Run]) -> str:
    """Return the finished runs of each config and options as mean ± sample standard deviation over seeds."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(title_of(run, common_options(runs)), []).append(run)
    rows: list[list[float | str | None]] = []
    for title, members in groups.items():
        finished = [read_metrics(run.folder) for run in members if state_of(run) == FINISHED]
        columns = [[row.get(metric) for row in finished] for metric in HEADLINES]
        cells = [format_spread([value for value in column if value is not None]) for column in columns]
        rows.append([title, f'{len(finished)}/{len(members)}', *cells])
    return format_table(['config and options', 'seeds', *HEADLINES], rows)


def format_spread(values: Sequence[float], digits: int = 1) -> str:
    """Return 'mean ± sample standard deviation', only the mean for one value, '-' for none."""
    if len(values) < 2:
        return format_number(values[0] if values else None, digits)
    return f'{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}'


def read_metrics(folder: Path) -> Mapping[str, float | None]:
    """Return the metrics of a finished run, each from its own token, or from the only one that was measured."""
    metrics = _read_results(folder)['metrics']
    if OWN in metrics or len(metrics) == 1:
        return metrics.get(OWN) or next(iter(metrics.values()))
    return own_token_metrics(metrics)


def read_progress(folder: Path) -> Progress | None:
    """Return the last logged training iteration of a run, or None before the first."""
    for log in sorted(folder.glob('*/vis_data/scalars.json'), reverse=True):  # folders are named by time
        for line in reversed(log.read_text().splitlines()):
            try:
                step = json.loads(line)
            except ValueError:
                continue  # a line that is being written
            if 'loss' in step:
                return Progress(int(step['iter']), float(step['loss']), float(step.get('time', math.nan)))
    return None


def _read_results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / 'results.json').read_text())


def format_seconds(seconds: float) -> str:
    """Return hours and minutes, such as '3:07'; '-' if unknown."""
    if not math.isfinite(seconds):
        return '-'
    minutes = math.ceil(max(seconds, 0) / 60)
    return f'{minutes // 60}:{minutes % 60:02d}'
