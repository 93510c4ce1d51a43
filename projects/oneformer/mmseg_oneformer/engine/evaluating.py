"""From a config and a checkpoint to numbers; ``tools/test.py`` is a thin layer above it."""

import copy
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ..checkpoints.checkpoint import load_weights
from ..console import say
from ..errors import UserError
from ..evaluation.mean_iou import MeanIoU
from ..evaluation.report import report_config
from ..evaluation.results import OWN, ClassNumbers, class_numbers, write_results
from ..evaluation.token_matrix import split_tokens
from ..files import user_path
from ..models.precision import check_dtype, use_dtype
from ..models.test_time_views import TestTimeViews
from ..out_of_memory import explain_out_of_memory
from ..tasks import TASKS
from ..zoo.building import explain_mistakes
from ..zoo.configs import find_config
from ..zoo.weights import missing_checkpoint, resolve_weights
from .data_config import DataPath, check_classes
from .evaluation_config import for_testing, token_of
from .runs import build_runner, run_config

__all__ = ['evaluate', 'load_runner', 'run_evaluation', 'write_predictions']


def evaluate(
    config: str | os.PathLike[str] | Config,
    weights: str | os.PathLike[str] | None = None,
    *,
    data: DataPath | None = None,
    tasks: Iterable[str] = TASKS,
    token: str | None = None,
    tta: bool = False,
    out: str | os.PathLike[str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Measure a model in its three tasks: PQ, AP and mIoU, each from its own task token, in one pass over the data.

    Args:
        config: A config's file, the name of a model, or a config, which is not changed.
        weights: A checkpoint, its https address, or the name of a model; by default the shipped or published ones of
            the config's name.
        data: Own data in place of the config's, as for :func:`train`; of a folder, its validation JSON if it has one.
        tasks: Predictions to make and measure: 'semantic', 'instance', 'panoptic' or several of them.
        token: The task whose token makes all predictions; by default each has its own.
        tta: Predict from several sizes of each photo and their mirror images.
        out: Results file (default: ``results.json`` in the work dir).
        options: Settings that override the config, by dotted key.

    Returns:
        The content of ``results.json``: numbers 0-100 are in ``['metrics']['own']``, and those of each class in
        ``['per_class']['own']``.

    Raises:
        FileNotFoundError: The data or the weights do not exist.
        UserError: Config, data, weights and options do not fit together.
    """
    cfg = run_config(config, data=data, val=data, options=options)
    if weights is None and isinstance(config, Config):
        raise UserError('A config in memory has no weights of its own; give them.')
    path = resolve_weights(find_config(str(config)).stem if weights is None else weights)
    if data is not None:
        check_classes(path, cfg)
    return run_evaluation(cfg, path, tasks=tasks, token=token, tta=tta, out=out)


def run_evaluation(
    cfg: Config,
    weights: str | os.PathLike[str],
    *,
    config_name: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    tasks: Iterable[str] = TASKS,
    token: str | None = None,
    token_matrix: bool = False,
    show_dir: str | os.PathLike[str] | None = None,
    report: str | os.PathLike[str] | None = None,
    report_images: int = 50,
    tta: bool = False,
    dtype: str | None = None,
    compile: bool = False,
) -> dict[str, Any]:
    """Test a checkpoint on the config's test data in one pass and write ``results.json``.

    Args:
        cfg: The config, as :func:`run_config` returns it; it is not changed. ``results.json`` lists its ``options``,
            along with those that overrode it in training.
        weights: ``.safetensors`` or a checkpoint of mmengine.
        config_name: The config named in ``results.json`` (default: the config's file); its stem is the model's name.
        out: Results file (default: ``results.json`` in the work dir).
        tasks: Predictions to make and measure.
        token: A task whose token makes all predictions; None leaves it to ``model.test_cfg.token``, and if that is
            None too, each prediction has its own.
        token_matrix: Make and measure every prediction under every token.
        show_dir: Folder for a picture of each image; None for none.
        report: Folder for the report of segments; None for none.
        report_images: How many images its page shows for each sort order.
        tta: Predict from several views of each photo; ``results.json`` names it among the options.
        dtype: Number format of the network, as for :class:`OneFormerInferencer`; ``results.json`` names it among the
            options if it is not fp32.
        compile: Compile the network; listed among the options too.

    Returns:
        The content of ``results.json``.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        UserError: The options, the data or the checkpoint do not fit.
    """
    _check_weights(weights)
    if out is not None and Path(out).is_dir():
        raise UserError(f'{out} is a folder; name the results file.')
    if token is None and not token_matrix:
        token = token_of(cfg)
    if (compile or dtype is not None) and cfg.model.type != 'OneFormer':
        raise UserError(f'--dtype and --compile are for OneFormer, not for {cfg.model.type}; leave them out.')
    if dtype is not None:
        cfg = copy.deepcopy(cfg)
        use_dtype(cfg, check_dtype(dtype, get_device()))
    name = config_name or cfg.filename or 'config'
    options = dict(cfg.get('options') or {})
    cfg = for_testing(cfg, tasks, token, token_matrix, show_dir, tta)
    if tta:
        options |= {'tta': cfg.tta.to_dict()}
    if dtype not in (None, 'fp32'):
        options |= {'dtype': dtype}
    if compile:
        options |= {'compile': True}
    if report is not None:
        added = report_config(report, report_images, Path(name).stem, tasks, token_matrix)
        cfg.test_evaluator = [*cfg.test_evaluator, added]
    runner, meta = load_runner(cfg, weights)
    if compile:
        _network(runner).compile_network()
    start = time.perf_counter()
    measured = _test(runner)
    seconds = time.perf_counter() - start
    return write_results(
        out or Path(runner.work_dir) / 'results.json',
        config=name,
        weights=weights,
        metrics=split_tokens(measured) if token_matrix else {token or OWN: measured},
        per_class=_per_class(runner, token or OWN),
        miou_average=_miou_average(runner),
        data=getattr(runner.test_dataloader.dataset, 'ann_file', None),
        num_images=len(runner.test_dataloader.dataset),
        seconds=seconds,
        seed=meta.get('seed'),
        iteration=meta.get('iter', meta.get('iteration')),
        options={**(meta.get('options') or {}), **options},
    )


def write_predictions(
    cfg: Config,
    weights: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    tasks: Iterable[str] = TASKS,
    token: str | None = None,
    tta: bool = False,
) -> int:
    """Predict for the config's test data, which need no annotations, and write files for a benchmark's server.

    Args:
        cfg: The config, with ``work_dir`` set.
        weights: As for :func:`evaluate`.
        folder: Output folder; see :class:`FormatAnswers`.
        tasks: Predictions to make.
        token: A task whose token makes all predictions; None as for :func:`evaluate`.
        tta: Predict from several views of each photo.

    Returns:
        The number of images.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        UserError: The options, the data or the checkpoint do not fit.
    """
    _check_weights(weights)
    token = token or token_of(cfg)
    runner, _ = load_runner(for_testing(cfg, tasks, token, tta=tta, predictions_dir=folder), weights)
    _test(runner)
    return len(runner.test_dataloader.dataset)


def _per_class(runner: Runner, token: str) -> dict[str, ClassNumbers]:
    """Return the metrics of each class, under each token."""
    classes = runner.test_dataloader.dataset.metainfo['classes']
    evaluators = getattr(runner.test_loop.evaluator, 'evaluators', {token: runner.test_loop.evaluator})
    return {name: class_numbers(evaluator.metrics, classes) for name, evaluator in evaluators.items()}


def _miou_average(runner: Runner) -> str | None:
    """Return how our mean IoU was averaged; None if it was not measured."""
    metrics = runner.test_loop.evaluator.metrics
    return next((metric.average for metric in metrics if isinstance(metric, MeanIoU)), None)


def _check_weights(weights: str | os.PathLike[str]) -> None:
    """Raise a FileNotFoundError now, and not after minutes of building data sets."""
    if not user_path(weights).exists():
        raise missing_checkpoint(weights)


def load_runner(cfg: Config, weights: str | os.PathLike[str]) -> tuple[Runner, dict[str, Any]]:
    """Return a runner whose model has the weights, and the checkpoint's metadata."""
    runner = build_runner(cfg)
    say(f'Loading {weights}')
    return runner, load_weights(_network(runner), weights)


def _test(runner: Runner) -> dict[str, Any]:
    """Test the model of a runner; the data set and the metrics are built here."""
    remedy = 'test with --dtype bf16, or with a smaller test_dataloader.batch_size'
    with explain_mistakes(runner.cfg), explain_out_of_memory(remedy):
        return runner.test()


def _network(runner: Runner) -> Any:
    """Return the runner's model without its wrappers."""
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    return model.module if isinstance(model, TestTimeViews) else model
