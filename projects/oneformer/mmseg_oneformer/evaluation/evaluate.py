"""From a config and a checkpoint to numbers; ``tools/test.py`` and the quick start are thin layers above it."""

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ..models.checkpoint import for_inference, load_weights
from ..tasks import TASKS, check_task, check_tasks
from .per_class import ClassNumbers, class_numbers
from .report import report_config
from .results import OWN, write_results
from .token_matrix import split_tokens

TASK_OF_METRIC_TYPE = {
    'PanopticQuality': 'panoptic',
    'SegmentReport': 'panoptic',
    'InstanceAP': 'instance',
    'CityscapesAP': 'instance',
    'MeanIoU': 'semantic',
    'IoUMetric': 'semantic',
}
TRAINING_KEYS = (
    *('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler', 'auto_scale_lr'),
    *('val_dataloader', 'val_cfg', 'val_evaluator'),
)


def select_metrics(evaluator: Any, tasks: Iterable[str]) -> list[Mapping]:
    """Return the metrics of a ``test_evaluator`` that measure one of ``tasks``; a metric of unknown kind stays.

    Raises:
        ValueError: No metric is left.
    """
    if isinstance(evaluator, Mapping):
        evaluator = evaluator.get('metrics', [evaluator])
    wanted = check_tasks(tasks)
    kinds = [(metric, TASK_OF_METRIC_TYPE.get(metric['type'].rpartition('.')[2])) for metric in evaluator]
    chosen = [metric for metric, task in kinds if task is None or task in wanted]
    if not chosen:
        raise ValueError(f'test_evaluator has no metric for {", ".join(wanted)}; add one or ask for other tasks.')
    return chosen


def for_testing(
    cfg: Config,
    tasks: Iterable[str] = TASKS,
    token: str | None = None,
    token_matrix: bool = False,
    show_dir: str | os.PathLike[str] | None = None,
) -> Config:
    """Return a copy of ``cfg`` that can only be tested, for the given tasks.

    Args:
        cfg: A config of an experiment; its text branch and all of training are left out of the copy.
        tasks: Answers to make and measure.
        token: A task whose token makes all answers; None gives each answer its own.
        token_matrix: Make every answer under every token.
        show_dir: Folder for a picture of each image; None for none.

    Raises:
        ValueError: An unknown task, a config without test data, or options that exclude each other.
    """
    if token_matrix and token is not None:
        raise ValueError('the token matrix already has every token; leave out either --token or --token-matrix.')
    tasks = check_tasks(tasks)
    missing = [key for key in ('model', 'test_dataloader', 'test_evaluator') if cfg.get(key) is None]
    if missing:
        raise ValueError(f'the config has no {missing[0]}, so there is nothing to test; add it to the config.')
    cfg = for_inference(cfg)
    for key in TRAINING_KEYS:
        cfg.pop(key, None)
    cfg.resume, cfg.load_from = False, None
    cfg.model.test_cfg = ConfigDict(
        (cfg.model.get('test_cfg') or {}) | {'tasks': tasks, 'token': None if token is None else check_task(token)}
    )
    cfg.test_evaluator = select_metrics(cfg.test_evaluator, tasks)
    _need_no_more_than(cfg.test_dataloader.dataset, tasks)
    cfg.test_cfg = {'type': 'TokenMatrixLoop' if token_matrix else 'TestLoop'}
    if show_dir is not None:
        cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), {'type': 'SavePictures', 'out_dir': str(show_dir)}]
    return cfg


def _need_no_more_than(dataset: ConfigDict, tasks: Iterable[str]) -> None:
    """Take the folders out of a data set's config that hold the annotations of other tasks only."""
    for key, task in (('sem', 'semantic'), ('instance', 'instance')):
        if task not in tasks:
            dataset.get('data_prefix', {}).pop(key, None)


def _per_class(runner: Runner, token: str) -> dict[str, ClassNumbers]:
    """Return what the metrics have found for each class, under each token."""
    classes = runner.test_dataloader.dataset.metainfo['classes']
    evaluators = getattr(runner.test_loop.evaluator, 'evaluators', {token: runner.test_loop.evaluator})
    return {name: class_numbers(evaluator.metrics, classes) for name, evaluator in evaluators.items()}


def evaluate(
    cfg: Config,
    weights: str | os.PathLike[str],
    *,
    config_name: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    tasks: Iterable[str] = TASKS,
    token: str | None = None,
    token_matrix: bool = False,
    show_dir: str | os.PathLike[str] | None = None,
    report: str | os.PathLike[str] | None = None,
    report_images: int = 50,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Test a checkpoint on the config's test data in one pass and write ``results.json``.

    Args:
        cfg: The config, with ``work_dir`` set.
        weights: ``.safetensors`` or a checkpoint of mmengine.
        config_name: What ``results.json`` names as config; its stem is the model's name.
        out: Results file (default: ``results.json`` in the work dir).
        tasks: Answers to make and measure.
        token: A task whose token makes all answers; None leaves it to ``model.test_cfg.token``, and where that is None
            too each answer has its own.
        token_matrix: Make and measure every answer under every token.
        show_dir: Folder for a picture of each image; None for none.
        report: Folder for the report of segments; None for none.
        report_images: How many images its page shows by each order.
        options: What overrides the config, already merged into ``cfg``; named in ``results.json``.

    Returns:
        The content of ``results.json``.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: The options, the data or the checkpoint do not fit.
    """
    if not Path(weights).expanduser().exists():  # before minutes of building data sets
        raise FileNotFoundError(f'There is no checkpoint at {weights}; check the path.')
    if out is not None and Path(out).is_dir():
        raise ValueError(f'{out} is a folder; name the results file.')
    if token is None and not token_matrix:
        token = ((cfg.get('model') or {}).get('test_cfg') or {}).get('token')  # a model trained for one task states it
    cfg = for_testing(cfg, tasks, token, token_matrix, show_dir)
    if report is not None:
        added = report_config(report, report_images, Path(config_name).stem, tasks, token_matrix)
        cfg.test_evaluator = [*cfg.test_evaluator, added]
    runner = Runner.from_cfg(cfg)
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    meta = load_weights(model, weights)
    start = time.perf_counter()
    measured = runner.test()
    seconds = time.perf_counter() - start
    return write_results(
        out or Path(runner.work_dir) / 'results.json',
        config=config_name,
        weights=weights,
        metrics=split_tokens(measured) if token_matrix else {token or OWN: measured},
        per_class=_per_class(runner, token or OWN),
        num_images=len(runner.test_dataloader.dataset),
        seconds=seconds,
        seed=meta.get('seed'),
        iteration=meta.get('iter', meta.get('iteration')),
        options=options,
    )
