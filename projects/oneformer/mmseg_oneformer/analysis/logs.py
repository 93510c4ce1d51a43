"""What a training run has logged: curves by name, and where its time went.

mmengine writes one line of JSON per logging step to ``<work dir>/<time stamp>/vis_data/scalars.json``; a run that was
resumed has several such files, which count as one run here.
"""

import fnmatch
import json
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median, pstdev
from typing import Any, NamedTuple

import numpy as np

from ..annotations.values import as_integer
from ..errors import MissingFileError, UserError

Step = dict[str, Any]

EARLIER_LAYER = re.compile(r'd\d+\.(.+)')
"""Losses of the decoder's layers before the last: d0.loss_cls, d1.loss_cls ..."""

SUMS = {'all.': True, 'aux.': False}
"""Prefixes of sums over layers -> whether the last layer, whose losses have no prefix, is in them."""


class Curve(NamedTuple):
    """One number over time.

    Attributes:
        key: Its name.
        steps: (n,) iterations, int64.
        values: (n,) float64.
        measured: It is from validation, not from training.
    """

    key: str
    steps: np.ndarray
    values: np.ndarray
    measured: bool


class Run(NamedTuple):
    """The log of one run: its name, the lines of training and those of validation, in the order of iterations."""

    name: str
    train: list[Step]
    val: list[Step]


def read_run(path: str | os.PathLike[str]) -> Run:
    """Read a log, or all logs below a work dir as one run.

    What was logged after the checkpoint from which a run was resumed is replaced by what the resumed run logged.

    Raises:
        FileNotFoundError: There is no log.
        UserError: A file is not a log of mmengine.
    """
    path = Path(path)
    files = sorted(path.rglob('vis_data/scalars.json')) if path.is_dir() else [path] * path.is_file()
    if not files:
        raise MissingFileError(f'There is no log at {path}; give a scalars.json or the work dir of a training run.')
    steps: list[Step] = []
    for file in files:
        added = _read_lines(file)
        first = min((step['step'] for step in added), default=math.inf)
        steps = [step for step in steps if step['step'] < first] + added
    train, val = [step for step in steps if is_training(step)], [step for step in steps if not is_training(step)]
    name = path.name if path.is_dir() else next((p.name for p in path.parents if not _is_of_mmengine(p)), path.stem)
    return Run(name or path.resolve().name, train, val)


def is_training(step: Step) -> bool:
    """Return whether a logging step is from training, not from validation."""
    return 'lr' in step or 'loss' in step


def _is_of_mmengine(folder: Path) -> bool:
    return folder.name == 'vis_data' or re.fullmatch(r'\d{8}_\d{6}', folder.name) is not None


def _read_lines(path: Path) -> list[Step]:
    lines = path.read_text(encoding='utf-8', errors='replace').splitlines()
    steps: list[Step] = []
    iteration = 0
    for number, line in enumerate(lines, start=1):
        try:
            step = json.loads(line)
            step['step'] = as_integer(step['step'])
        except (ValueError, TypeError, KeyError, RecursionError):
            if number == len(lines) and number > 1:
                break  # the run was killed while writing
            raise UserError(f'{path}, line {number} is not a logging step of mmengine; give a scalars.json.') from None
        if is_training(step):
            iteration = step['step']
        else:
            # LoggerHook counts validations by epochs unless told otherwise, so its number may be far too small.
            step['step'] = max(step['step'], iteration)
        steps.append(step)
    return steps


def available_keys(run: Run) -> list[str]:
    """Return the names of all numbers that a run has logged, without the counters, in the order they appear."""
    keys = dict.fromkeys(key for step in (*run.train, *run.val) for key in step)
    return [key for key in keys if key not in ('step', 'iter', 'epoch')]


def find_curves(run: Run, key: str) -> list[Curve]:
    """Return the curves that ``key`` names.

    Args:
        run: A run.
        key: A name; a pattern such as ``d*.loss_mask``; or a sum over the layers of the decoder: ``all.loss_mask`` over
            all, ``aux.loss_mask`` over all but the last.

    Raises:
        UserError: The run has no such number.
    """
    keys = available_keys(run)
    prefix = next((prefix for prefix in SUMS if key.startswith(prefix)), None)
    if prefix is not None:
        loss = key.removeprefix(prefix)
        terms = [name for name in keys if (match := EARLIER_LAYER.fullmatch(name)) and match[1] == loss]
        terms += [loss] if SUMS[prefix] and loss in keys else []
        curves = [_curve(run, term) for term in terms]
        if curves:
            return [Curve(key, curves[0].steps, np.sum([curve.values for curve in curves], axis=0), False)]
    else:
        found = [key] if key in keys else fnmatch.filter(keys, key)
        if found:
            return [_curve(run, name) for name in found]
    raise UserError(f'{run.name} has logged no {key!r}; it has {", ".join(keys)}.')


def _curve(run: Run, key: str) -> Curve:
    """Return the curve of a name; time and data_time, which validations log too, are those of the training."""
    in_train = any(key in step for step in run.train)
    steps = [step for step in (run.train if in_train else run.val) if key in step]
    values = [math.nan if step[key] is None else float(step[key]) for step in steps]
    return Curve(key, np.array([step['step'] for step in steps], dtype=np.int64), np.array(values), not in_train)


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Return the moving average of values (n,) over ``window`` points.

    Near the ends the window shrinks on both sides alike, so that a straight line stays one.

    Args:
        values: (n,).
        window: An odd number of points; an even one counts as the next odd one.

    Raises:
        UserError: The window is not positive.
    """
    if window < 1:
        raise UserError(f'a mean over {window} points is undefined; give 1 or more.')
    halves = [min(window // 2, k, len(values) - 1 - k) for k in range(len(values))]
    return np.array([values[k - half : k + half + 1].mean() for k, half in enumerate(halves)])


class TrainTime(NamedTuple):
    """Where the time of a training run went.

    Attributes:
        iterations: The last iteration that was logged.
        mean: Seconds per iteration.
        median: Likewise, over the logging steps.
        deviation: Standard deviation between logging steps.
        slowest: Iteration and seconds of the slowest logging step.
        fastest: Likewise.
        waiting: Share of the time spent waiting for data, 0 to 1; nan if it is not logged.
        memory: Peak memory of the GPU in MiB, None without a GPU.
    """

    iterations: int
    mean: float
    median: float
    deviation: float
    slowest: tuple[int, float]
    fastest: tuple[int, float]
    waiting: float
    memory: int | None


def train_time(run: Run, include_outliers: bool = False) -> TrainTime:
    """Return the times of a run.

    Args:
        run: A run; each of its logging steps has the mean time of the iterations before it.
        include_outliers: Count the first logging step too, in which data loaders and kernels start.

    Raises:
        UserError: Fewer than two steps with a time were logged.
    """
    timed = [step for step in run.train if 'time' in step]
    chosen: Sequence[Step] = timed if include_outliers else timed[1:]
    if not chosen:
        raise UserError(
            f'{run.name} has logged {len(timed)} times of iterations; log more often (default_hooks.logger.interval), '
            'or count the first one too with --include-outliers.'
        )
    times = [float(step['time']) for step in chosen]
    waiting = [float(step['data_time']) for step in chosen if 'data_time' in step]
    by_time = sorted(((time, int(step['step'])) for time, step in zip(times, chosen)))
    return TrainTime(
        iterations=int(timed[-1]['step']),
        mean=fmean(times),
        median=median(times),
        deviation=pstdev(times),
        slowest=by_time[-1][::-1],
        fastest=by_time[0][::-1],
        waiting=sum(waiting) / sum(times) if waiting and sum(times) else math.nan,
        memory=max((int(step['memory']) for step in run.train if 'memory' in step), default=None),
    )
