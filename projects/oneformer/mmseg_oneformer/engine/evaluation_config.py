"""The config of an experiment, reduced to what testing needs."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from ..checkpoints.checkpoint import for_inference
from ..errors import UserError
from ..evaluation.submission import layout_of
from ..tasks import TASKS, check_task, check_tasks
from ..zoo.configs import rename_config, require

__all__ = ['for_testing', 'select_metrics', 'token_of']

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
    """Return the metrics of a ``test_evaluator`` that measure one of ``tasks``; unknown metrics are kept.

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
        cfg: A config of an experiment; the copy has neither its text branch nor anything of training.
        tasks: Predictions to make and measure.
        token: A task whose token makes all predictions; None gives each prediction its own.
        token_matrix: Make every prediction under every token.
        show_dir: Folder for a picture of each image; None for none.
        tta: Predict from several views of each photo, as set by the config's ``tta``.
        predictions_dir: Write the predictions there for a benchmark's server and measure nothing.

    Raises:
        UserError: An unknown task, a config without test data, or options that exclude each other.
    """
    if token_matrix and token is not None:
        raise UserError('the token matrix already has every token; leave out either --token or --token-matrix.')
    if token_matrix and tta:
        raise UserError('the token matrix is made from one view; leave out either --tta or --token-matrix.')
    tasks = check_tasks(tasks)
    for key in ('model.type', 'test_dataloader.dataset', 'test_evaluator'):
        require(cfg, key)
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
    # Not under the name of the config that was trained, whose copy may be in the same work dir.
    return rename_config(cfg, f'{Path(cfg.filename or "config").stem}_test')


def _need_no_more_than(dataset: ConfigDict, tasks: Iterable[str]) -> None:
    """Remove from a data set's config the folders that hold annotations of other tasks only."""
    for key, task in (('sem', 'semantic'), ('instance', 'instance')):
        if task not in tasks:
            dataset.get('data_prefix', {}).pop(key, None)


def use_views(cfg: Config) -> None:
    """Let ``cfg`` test on the views that its ``tta`` states; photos then arrive at their original size.

    Raises:
        UserError: The config states no views, or its test pipeline does not resize with ``ShortestEdge``.
    """
    if cfg.get('tta') is None:
        raise UserError('the config has no tta; add tta=dict(sides=(...), max_size=..., flip=True) to it.')
    dataset = cfg.test_dataloader.dataset
    resizing = [step for step in dataset.pipeline if step['type'] == 'ShortestEdge']
    if len(resizing) != 1:
        raise UserError('--tta replaces the ShortestEdge of the test pipeline, which has none or several; give it one.')
    dataset.pipeline = [step for step in dataset.pipeline if step is not resizing[0]]
    cfg.model = ConfigDict(type='TestTimeViews', module=cfg.model, test_side=resizing[0]['size'], **cfg.tta)


def token_of(cfg: Config) -> str | None:
    """Return the token that a model trained for one task states."""
    return ((cfg.get('model') or {}).get('test_cfg') or {}).get('token')
