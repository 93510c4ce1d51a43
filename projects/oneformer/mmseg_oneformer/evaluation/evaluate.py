"""From a config and a checkpoint to numbers; ``tools/test.py`` and the quick start are thin layers above it."""

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ..checkpoints.checkpoint import for_inference, load_weights
from ..errors import MissingFileError, UserError
from ..models.precision import check_dtype, use_dtype
from ..models.test_time_views import TestTimeViews
from ..tasks import TASKS, check_task, check_tasks
from .report import report_config
from .results import OWN, ClassNumbers, class_numbers, write_results
from .submission import layout_of
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
        UserError: No metric is left.
    """
    if isinstance(evaluator, Mapping):
        evaluator = evaluator.get('metrics', [evaluator])
    wanted = check_tasks(tasks)
    kinds = [(metric, TASK_OF_METRIC_TYPE.get(metric['type'].rpartition('.')[2])) for metric in evaluator]
    chosen = [metric for metric, task in kinds if task is None or task in wanted]
    if not chosen:
        raise UserError(f'test_evaluator has no metric for {", ".join(wanted)}; add one or choose other tasks.')
    return chosen


def for_testing(
    cfg: Config,
    tasks: Iterable[str] = TASKS,
    token: str | None = None,
    token_matrix: bool = False,
    show_dir: str | os.PathLike[str] | None = None,
    tta: bool = False,
    predictions_dir: str | os.PathLike[str] | None = None,
) -> Config:
    """Return a copy of ``cfg`` that can only be tested, for the given tasks.

    Args:
        cfg: A config of an experiment; its text branch and all of training are left out of the copy.
        tasks: Predictions to make and measure.
        token: A task whose token makes all predictions; None gives each prediction its own.
        token_matrix: Make every prediction under every token.
        show_dir: Folder for a picture of each image; None for none.
        tta: Predict from several views of each photo, as the config's ``tta`` says.
        predictions_dir: Write the predictions there for a benchmark's server and measure nothing.

    Raises:
        UserError: An unknown task, a config without test data, or options that exclude each other.
    """
    if token_matrix and token is not None:
        raise UserError('the token matrix already has every token; leave out either --token or --token-matrix.')
    if token_matrix and tta:
        raise UserError('the token matrix is made from one view; leave out either --tta or --token-matrix.')
    tasks = check_tasks(tasks)
    missing = [key for key in ('model', 'test_dataloader', 'test_evaluator') if cfg.get(key) is None]
    if missing:
        raise UserError(f'the config has no {missing[0]}, so there is nothing to test; add it to the config.')
    cfg = for_inference(cfg)
    for key in TRAINING_KEYS:
        cfg.pop(key, None)
    # The averaged weights are those of the checkpoint's model; the hook would make a second model.
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks') or [] if hook['type'] != 'EMAHook']
    cfg.resume, cfg.load_from = False, None
    cfg.model.test_cfg = ConfigDict(
        (cfg.model.get('test_cfg') or {}) | {'tasks': tasks, 'token': None if token is None else check_task(token)}
    )
    _need_no_more_than(cfg.test_dataloader.dataset, tasks if predictions_dir is None else ())
    if predictions_dir is None:
        cfg.test_evaluator = select_metrics(cfg.test_evaluator, tasks)
    else:
        dataset = cfg.test_dataloader.dataset
        ann_file = str(Path(dataset.get('data_root') or '') / dataset.ann_file)
        writer = {'folder': str(predictions_dir), 'ann_file': ann_file, 'layout': layout_of(dataset.type)}
        cfg.test_evaluator = [ConfigDict(type='FormatAnswers', **writer)]
    cfg.test_cfg = {'type': 'TokenMatrixLoop' if token_matrix else 'TestLoop'}
    if tta:
        use_views(cfg)
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


def use_views(cfg: Config) -> None:
    """Let ``cfg`` test on the views that its ``tta`` states; photos then arrive at their own size.

    Raises:
        UserError: The config states no views, or its test pipeline does not resize by ``ShortestEdge``.
    """
    if cfg.get('tta') is None:
        raise UserError('the config has no tta; add tta=dict(sides=(...), max_size=..., flip=True) to it.')
    dataset = cfg.test_dataloader.dataset
    resizing = [step for step in dataset.pipeline if step['type'] == 'ShortestEdge']
    if len(resizing) != 1:
        raise UserError('--tta replaces the ShortestEdge of the test pipeline, which has none or several; give it one.')
    dataset.pipeline = [step for step in dataset.pipeline if step is not resizing[0]]
    cfg.model = ConfigDict(type='TestTimeViews', module=cfg.model, test_side=resizing[0]['size'], **cfg.tta)


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
        folder: Where to; see :class:`FormatAnswers`.
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
    runner, _ = build_runner(for_testing(cfg, tasks, token, tta=tta, predictions_dir=folder), weights)
    runner.test()
    return len(runner.test_dataloader.dataset)


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
    tta: bool = False,
    dtype: str | None = None,
    compile: bool = False,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Test a checkpoint on the config's test data in one pass and write ``results.json``.

    Args:
        cfg: The config, with ``work_dir`` set.
        weights: ``.safetensors`` or a checkpoint of mmengine.
        config_name: What ``results.json`` names as config; its stem is the model's name.
        out: Results file (default: ``results.json`` in the work dir).
        tasks: Predictions to make and measure.
        token: A task whose token makes all predictions; None leaves it to ``model.test_cfg.token``, and where that is
            None too each prediction has its own.
        token_matrix: Make and measure every prediction under every token.
        show_dir: Folder for a picture of each image; None for none.
        report: Folder for the report of segments; None for none.
        report_images: How many images its page shows by each order.
        tta: Predict from several views of each photo; ``results.json`` names it among the options.
        dtype: Number format of the network, as for :class:`OneFormerInferencer`; ``results.json`` names it among the
            options if it is not fp32.
        compile: Compile the network; named likewise.
        options: What overrides the config, already merged into ``cfg``; named in ``results.json``, beside what
            overrode it in training.

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
        use_dtype(cfg, check_dtype(dtype, get_device()))
    cfg = for_testing(cfg, tasks, token, token_matrix, show_dir, tta)
    if tta:
        options = dict(options or {}) | {'tta': cfg.tta.to_dict()}
    if dtype not in (None, 'fp32'):
        options = dict(options or {}) | {'dtype': dtype}
    if compile:
        options = dict(options or {}) | {'compile': True}
    if report is not None:
        added = report_config(report, report_images, Path(config_name).stem, tasks, token_matrix)
        cfg.test_evaluator = [*cfg.test_evaluator, added]
    runner, meta = build_runner(cfg, weights)
    if compile:
        _network(runner).compile_network()
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
        options={**(meta.get('options') or {}), **(options or {})},
    )


def _check_weights(weights: str | os.PathLike[str]) -> None:
    """Raise a FileNotFoundError before minutes of building data sets."""
    if not Path(weights).expanduser().exists():
        raise MissingFileError(f'There is no checkpoint at {weights}; check the path.')


def token_of(cfg: Config) -> str | None:
    """Return the token that a model trained for one task states."""
    return ((cfg.get('model') or {}).get('test_cfg') or {}).get('token')


def build_runner(cfg: Config, weights: str | os.PathLike[str]) -> tuple[Runner, dict[str, Any]]:
    """Return a runner whose model has the weights, and what the checkpoint says about itself."""
    runner = Runner.from_cfg(cfg)
    return runner, load_weights(_network(runner), weights)


def _network(runner: Runner) -> Any:
    """Return the runner's model without what wraps it."""
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    return model.module if isinstance(model, TestTimeViews) else model
