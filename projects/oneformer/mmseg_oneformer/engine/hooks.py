"""Hooks that mmengine lacks or has in a form that can lose a run."""

import logging
import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS

from ..checkpoints.checkpoint import check_fit
from ..datasets.base import SegmentationDataset
from ..errors import UserError
from ..files import write_atomic
from ..models.baselines.mask2former import Mask2FormerBaseline
from ..models.oneformer import OneFormer

METRIC_TASKS = {'PanopticQuality': 'panoptic', 'InstanceAP': 'instance', 'MeanIoU': 'semantic', 'IoUMetric': 'semantic'}
"""Annotation that a metric compares with, by the name of its class."""


class _LaterRemoval:
    """A storage backend that only notes which files to remove."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        self.paths: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def remove(self, path: str) -> None:
        """Note the file."""
        self.paths.append(path)


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``, but a whole checkpoint is always on disk and ``last_checkpoint`` names it.

    The base class removes the oldest checkpoint *before* it saves the new one (with ``max_keep_ckpts=1`` a kill in
    between loses the run) and writes ``last_checkpoint`` in place. Takes the same arguments.
    """

    file_backend: Any

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Note what overrode the config, so that a result is not taken for the config's own."""
        checkpoint['meta']['options'] = dict(runner.cfg.get('options') or {})

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Raise an error rather than resume from another model's checkpoint, or with another schedule.

        mmengine loads what happens to fit, and a schedule's end from the checkpoint: a run that was to go on for longer
        would go on at the last learning rate, often 0.

        Raises:
            UserError: Keys or shapes differ, a schedule ends at another iteration than the config says, or the
                checkpoint holds averaged weights and this run does not average.
        """
        if runner._resume:
            if 'ema_state_dict' in checkpoint and not any(isinstance(hook, EMAHook) for hook in runner.hooks):
                raise UserError(
                    f'{runner._load_from} is of a run with EMAHook, whose averaged weights cannot be trained on from '
                    'there; resume with EMAHook in custom_hooks, or start from them with --cfg-options '
                    'load_from=CHECKPOINT.'
                )
            check_schedule(runner.cfg.get('param_scheduler') or [], checkpoint.get('param_schedulers') or [])
            model = runner.model.module if is_model_wrapper(runner.model) else runner.model
            check_fit(model.state_dict(), checkpoint['state_dict'], runner._load_from)

    def _save_checkpoint_with_step(self, runner: Any, step: int, meta: dict) -> None:
        """Save, then point to what was saved, then remove what is too old."""
        outdated = []
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            kept = [*self.keep_ckpt_ids, step]
            outdated = kept[: -self.max_keep_ckpts]
            self.keep_ckpt_ids.append(step)  # A deque of max_keep_ckpts: older entries fall out.
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            write_atomic(Path(runner.work_dir) / 'last_checkpoint', self.last_ckpt)
            for old in outdated:
                self._remove(self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(old)))

    def _save_best_checkpoint(self, runner: Any, metrics: dict[str, Any]) -> None:
        """Save the new best checkpoint, then remove the one before.

        A run without the metric that ``save_best`` names goes on without a best checkpoint; mmengine ends it there.
        ``Runner.val`` before any training has none to keep; mmengine ends it too.
        """
        if not hasattr(self, 'file_backend'):  # Set when training begins.
            return
        unknown = [name for name in (self.save_best and self.key_indicators) or () if name not in (*metrics, 'auto')]
        if unknown:
            print_log(
                f'val_evaluator does not measure {unknown[0]}, so no best checkpoint is kept; set '
                f'default_hooks.checkpoint.save_best to one of {", ".join(metrics)}.',
                'current',
                level=logging.WARNING,
            )
            return
        backend = self.file_backend
        self.file_backend = later = _LaterRemoval(backend)
        try:
            super()._save_best_checkpoint(runner, metrics)
        finally:
            self.file_backend = backend
        current = [getattr(self, 'best_ckpt_path', None), *getattr(self, 'best_ckpt_path_dict', {}).values()]
        for path in later.paths:
            # A run that was resumed may write the same best checkpoint again.
            if path not in current:
                self._remove(path)

    def _remove(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self.file_backend.remove(path)


@HOOKS.register_module()
class StopAtInvalidLoss(Hook):
    """Ends training at a loss that is not finite, naming the term, instead of training on with broken weights.

    Args:
        interval: Iterations between two checks. OneFormer's losses are on the CPU by then; others are waited for.
    """

    def __init__(self, interval: int = 50) -> None:
        self.interval = interval

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Sequence[dict] | dict | None = None, outputs: dict | None = None
    ) -> None:
        """Check the losses of this iteration.

        Raises:
            UserError: One of them is NaN or infinite.
        """
        if not self.every_n_train_iters(runner, self.interval):
            return
        for name, value in (outputs or {}).items():
            if isinstance(value, torch.Tensor) and not math.isfinite(float(value.detach().sum())):
                raise UserError(
                    f'{name} is {float(value.detach().sum())} at iteration {runner.iter + 1}; resume from '
                    f'{runner.work_dir} with a lower learning rate, or without --amp.'
                )


@HOOKS.register_module()
class CheckClasses(Hook):
    """Ends a run whose model and data disagree about the classes, before it costs anything.

    Such a model would train without an error: with one class too few the last one becomes "no object". A metric that
    the annotations of the evaluated photos do not support ends it too: its number would mean nothing.
    """

    def before_train(self, runner: Any) -> None:
        """Compare with the training data."""
        self._compare(runner, runner.train_loop)

    def before_val(self, runner: Any) -> None:
        """Compare with the validation data."""
        self._compare(runner, runner.val_loop)
        check_metrics(runner.val_loop)

    def before_test(self, runner: Any) -> None:
        """Compare with the test data."""
        self._compare(runner, runner.test_loop)
        check_metrics(runner.test_loop)

    def _compare(self, runner: Any, loop: Any) -> None:
        """Raise a ValueError unless number of classes and thing ids agree; other models than ours are left alone."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        meta = getattr(loop.dataloader.dataset, 'metainfo', {})
        if not isinstance(model, OneFormer | Mask2FormerBaseline) or 'classes' not in meta:
            return
        owner, option = (model.head, 'head.num_classes') if isinstance(model, OneFormer) else (model, 'num_classes')
        if len(meta['classes']) != owner.num_classes:
            raise UserError(
                f'the model has {owner.num_classes} classes and the data have {len(meta["classes"])}; '
                f'set model.{option}={len(meta["classes"])}.'
            )
        if sorted(meta.get('thing_ids', model.thing_ids)) != sorted(model.thing_ids):
            raise UserError(
                f'model.thing_ids is {tuple(model.thing_ids)} and the things of the data are '
                f'{tuple(meta["thing_ids"])}; state the same ones in both.'
            )


def check_metrics(loop: Any) -> None:
    """Raise a ValueError if a metric of ``loop`` needs an annotation that its data set does not have."""
    dataset = loop.dataloader.dataset
    if not isinstance(dataset, SegmentationDataset):
        return
    for metric in loop.evaluator.metrics:
        task = METRIC_TASKS.get(type(metric).__name__)
        if task is None or task in dataset.tasks or getattr(metric, 'ann_file', None):
            continue
        measurable = ' and '.join(name for name, other in METRIC_TASKS.items() if other in dataset.tasks)
        raise UserError(
            f'{type(metric).__name__} needs {task} annotations and {dataset.name} has {" and ".join(dataset.tasks)} '
            f'ones; state val_evaluator and test_evaluator with {measurable} alone.'
        )


def check_schedule(configs: Sequence[dict] | dict, states: Sequence[dict]) -> None:
    """Raise a ValueError if a scheduler of the config ends at another iteration than its state in a checkpoint."""
    configs = [configs] if isinstance(configs, dict) else configs
    for config, state in zip(configs, states):
        if config.get('by_epoch', True) or 'end' not in config or 'end' not in state:
            continue  # Epochs are converted to iterations on building, a missing end is that of training.
        if config['end'] != state['end']:
            raise UserError(
                f'the schedule in the checkpoint ends at iteration {state["end"]}, that of the config at '
                f'{config["end"]}, and a resumed run keeps the old one; start a new run from these weights with '
                '--cfg-options load_from=CHECKPOINT, or resume with the config of the old run.'
            )
