"""``results.json``: one schema for tests, the quick start and the tables of the paper."""

import importlib
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files import file_digest, write_atomic
from ..text_table import format_table, plain_number

OWN = 'own'
"""Stands for the paper's rule: every prediction from its own token (PQ panoptic, AP instance, mIoU semantic)."""

METRICS_OF_TASK = {
    'panoptic': tuple(name + group for group in ('', '_th', '_st') for name in ('PQ', 'SQ', 'RQ')),
    'instance': tuple(
        box + name + truth
        for truth in ('', '_instance')
        for box in ('', 'box_')
        for name in ('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl')
    ),
    'semantic': ('mIoU', 'fwIoU', 'mAcc', 'aAcc'),
}
HEADLINES = ('PQ', 'PQ_th', 'PQ_st', 'AP', 'AP_instance', 'mIoU')  # the columns of the paper's tables

Metrics = Mapping[str, float | None]
"""0-100 by name; nan or None (null in the file) means not measured."""
ClassNumbers = Mapping[str, Mapping[str, float | None]]
"""Numbers 0-100 by class and name; None means not measured."""


def task_of_metric(name: str) -> str | None:
    """Return the task whose prediction the metric ``name`` measures (a prefix up to '/' is ignored), or None."""
    plain = name.rpartition('/')[2]
    return next((task for task, names in METRICS_OF_TASK.items() if plain in names), None)


def own_token_metrics(matrix: Mapping[str, Metrics]) -> dict[str, float | None]:
    """Return the metrics that belong to the token they were measured under: the diagonal of the token matrix."""
    return {
        name: value
        for token, metrics in matrix.items()
        for name, value in metrics.items()
        if task_of_metric(name) == token
    }


def format_results(metrics: Mapping[str, Metrics]) -> str:
    """Return a table like the paper's Table 8: a row for each token, with the headline metrics that were measured."""
    columns = [name for name in HEADLINES if any(name in row for row in metrics.values())]
    rows = [[token, *[row.get(name) for name in columns]] for token, row in metrics.items()]
    return format_table(['token', *columns], rows)


def class_numbers(metrics: Iterable[Any], classes: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """Gather the ``class_values`` (arrays (K,) by name) of all metrics that have some.

    If there are several processes, only the first has computed them.
    """
    columns: dict[str, np.ndarray] = {}
    for metric in metrics:
        columns |= getattr(metric, 'class_values', {})
    return {
        label: {name: plain_number(values[place]) for name, values in columns.items()}
        for place, label in enumerate(classes)
    }


def format_classes(per_class: Mapping[str, ClassNumbers]) -> str:
    """Return one table per token, with one line per class."""
    tables = []
    for token, numbers in per_class.items():
        names = list(next(iter(numbers.values()), {}))
        rows = [[label, *row.values()] for label, row in numbers.items()]
        tables.append(f'{token}\n{format_table(["class", *names], rows)}')
    return '\n\n'.join(tables)


def versions() -> dict[str, str]:
    """Return the versions of the software that the numbers may depend on."""
    found = {'python': platform.python_version()}
    for name in ('torch', 'numpy', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmseg_oneformer'):
        found[name] = str(getattr(importlib.import_module(name), '__version__', 'unknown'))
    return found


def write_results(
    path: str | os.PathLike[str],
    *,
    config: str | os.PathLike[str],
    weights: str | os.PathLike[str],
    metrics: Mapping[str, Metrics],
    num_images: int,
    seconds: float,
    seed: int | None = None,
    iteration: int | None = None,
    options: Mapping[str, Any] | None = None,
    per_class: Mapping[str, ClassNumbers] | None = None,
    miou_average: str | None = None,
    data: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Write an evaluation to a JSON file atomically; if there are several processes, the first one writes it.

    Args:
        path: The file; its folder is created.
        config: Config file; its stem is the name of the model.
        weights: Checkpoint file or folder, which is hashed.
        metrics: Under each token, or 'own' for the default rule, numbers 0-100 by name; nan becomes null.
        num_images: Images evaluated.
        seconds: Wall time of the pass over the data, metrics included.
        seed: Seed of the training run, if known.
        iteration: Iterations trained, if known.
        options: What overrides the config, by dotted key; the model's name is then not enough to tell what was
            measured.
        per_class: Under each token, numbers of each class.
        miou_average: The classes that mIoU was averaged over, in ``MeanIoU``'s terms; None: it did not measure mIoU.
        data: The annotation file, which is hashed; None, or not a file: the hash is null.

    Returns:
        What was written.
    """
    results = {
        'model': Path(config).stem,
        'config': str(config),
        'weights': str(weights),
        'weights_sha256': file_digest(weights),
        'data': None if data is None else str(data),
        'data_sha256': file_digest(data) if data and Path(data).is_file() else None,
        'seed': seed,
        'iteration': iteration,
        'options': dict(options or {}),
        'versions': versions(),
        'num_images': num_images,
        'seconds': round(seconds, 2),
        'metrics': {
            token: {name: plain_number(value) for name, value in row.items()} for token, row in metrics.items()
        },
        'miou_average': miou_average,
        'per_class': dict(per_class or {}),
    }
    from mmengine.dist import is_main_process  # imports PyTorch, which a table of the zoo does not need

    if is_main_process():
        write_atomic(path, json.dumps(results, indent=2) + '\n')
    return results
