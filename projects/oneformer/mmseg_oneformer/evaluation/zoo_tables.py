"""Tables and entries of the zoo: for a terminal, for ``docs/zoo.md``, and for the metafile of a user's own model."""

import posixpath
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mmengine
from mmengine.config import Config

from ..text_table import format_number, format_table
from ..zoo.configs import config_root, find_config
from ..zoo.metafile import ZooModel, read_zoo
from .results import OWN, Metrics, own_token_metrics, task_of_metric

__all__ = ['format_entry', 'format_zoo', 'markdown_zoo', 'metafile_entry']

COLUMNS = ('PQ', 'PQ_th', 'PQ_st', 'AP', 'AP_instance', 'mIoU', 'mIoU(ms+flip)')
OURS = 'mmseg_oneformer'
"""The value of ``Measured By`` for scores that this project measured."""


def format_zoo(states: Mapping[str, str]) -> str:
    """Return the table of all models for a terminal.

    Args:
        states: Where the weights of each model are, by its name.
    """
    zoo = read_zoo()
    order = [*zoo, *sorted(set(states) - set(zoo))]
    rows = []
    for name in filter(states.__contains__, order):
        model = zoo.get(name)
        numbers = [model.metrics.get(metric) if model else None for metric in ('PQ', 'AP', 'mIoU')]
        millions = f'{model.parameters / 1e6:.1f} M' if model else '-'
        rows.append([name, model.data if model else find_config(name).parent.name, *numbers, millions, states[name]])
    table = format_table(['model', 'data', 'PQ', 'AP', 'mIoU', 'parameters', 'weights'], rows)
    ours = [name for name, model in zoo.items() if model.measured_by == OURS]
    return (
        f'{table}\n\nScores are those published by the authors of OneFormer, each from its own task token; only those '
        f'of {", ".join(ours)} were measured by this project.'
    )


def markdown_zoo() -> str:
    """Return the tables of ``docs/zoo.md``: one for each data set, with the published numbers and the files."""
    groups: dict[str, list[ZooModel]] = {}
    for model in read_zoo().values():
        groups.setdefault(model.data, []).append(model)
    return '\n'.join(_markdown_group(data, models) for data, models in groups.items())


def _markdown_group(data: str, models: Sequence[ZooModel]) -> str:
    metrics = [name for name in COLUMNS if any(name in model.metrics for model in models)]
    header = ['model', *metrics, 'parameters', 'weights']
    lines = [f'## {data}\n', f'| {" | ".join(header)} |', f'|---|{"---:|" * (len(metrics) + 1)}---|']
    for model in models:
        cells = [f'[{model.name}](../{model.config})']
        cells += [format_number(model.metrics.get(name)) for name in metrics]
        cells += [f'{model.parameters / 1e6:.3f} M', _markdown_weights(model)]
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines) + '\n'


def _markdown_weights(model: ZooModel) -> str:
    if model.weights is None:
        return '-'
    if not model.urls:
        return 'included'
    names = [f'[{Path(model.file_name).suffix}]({model.urls[0]})', *[f'[hub]({url})' for url in model.urls[1:]]]
    return ', '.join(names)


def metafile_entry(
    config: Path, cfg: Config, parameters: int, file: str, iteration: int | None, results: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the metafile entry of a model that this project has trained.

    Args:
        config: File of the config.
        cfg: The same config, loaded.
        parameters: Number of parameters at inference.
        file: Name of the published file.
        iteration: Iterations trained; by default those of the config.
        results: Content of a ``results.json``; None leaves the scores out.
    """
    root = config_root()
    batch = re.search(r'_(\d+)xb(\d+)[-_]', config.stem)  # processes x images, as in all OpenMMLab names
    folders = {posixpath.basename(posixpath.dirname(model.config)): model.data for model in read_zoo().values()}
    data = folders.get(config.parent.name, config.parent.name)
    metadata = {
        'Training Data': data,
        'Iterations': iteration or cfg.train_cfg.max_iters,
        **({'Batch Size': int(batch.group(1)) * int(batch.group(2))} if batch else {}),
        'Parameters': parameters,
    }
    inside = config.resolve().is_relative_to(root.resolve())
    entry: dict[str, Any] = {
        'Name': config.stem,
        'In Collection': 'OneFormer',
        'Config': f'configs/{config.resolve().relative_to(root.resolve()).as_posix()}' if inside else config.as_posix(),
        'Metadata': metadata,
    }
    if results is not None:
        entry |= {'Measured By': OURS, 'Results': _results(results['metrics'], data)}
    return {**entry, 'Weights': file}


def _results(metrics: Mapping[str, Metrics], data: str) -> list[dict[str, Any]]:
    """Return the scores of ``COLUMNS``, each from its own token, by task."""
    scores = metrics.get(OWN) or own_token_metrics(metrics)
    found: dict[str, dict[str, float]] = {}
    for name in COLUMNS:
        task, value = task_of_metric(name), scores.get(name)
        if task is not None and value is not None:
            found.setdefault(f'{task.capitalize()} Segmentation', {})[name] = round(value, 1)
    return [{'Task': task, 'Dataset': data, 'Metrics': values} for task, values in found.items()]


def format_entry(entry: Mapping[str, Any]) -> str:
    """Return the text of one entry of a metafile's ``Models``."""
    return str(mmengine.dump([dict(entry)], file_format='yaml', sort_keys=False, width=120))
