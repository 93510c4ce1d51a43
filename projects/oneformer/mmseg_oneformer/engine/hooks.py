"""Hooks that mmengine lacks, or whose mmengine versions can lose a run."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.optim import AmpOptimWrapper
from mmengine.registry import HOOKS

from ..checkpoints.files import first_non_finite
from ..datasets.base import SegmentationDataset
from ..errors import UserError
from ..files import write_atomic
from ..models.oneformer import OneFormer
from ..models.postprocess import PostProcessor
from .non_finite import check_finite, stop_at

METRIC_TASKS = {'PanopticQuality': 'panoptic', 'InstanceAP': 'instance', 'MeanIoU': 'semantic', 'IoUMetric': 'semantic'}
"""The annotation that each metric compares with, by the metric's class name."""


class _LaterRemoval:
    """A storage backend that only records which files to remove."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        self.paths: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def remove(self, path: str) -> None:
        """Record the file."""
        self.paths.append(path)


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``, but a complete checkpoint is always on disk and ``last_checkpoint`` names it.

    The base class removes the oldest checkpoint *before* it saves the new one (with ``max_keep_ckpts=1`` a kill in
    between loses the run) and writes ``last_checkpoint`` in place. Takes the same arguments.
    """

    file_backend: Any
    _saved = 0  # Number of saves; the best ones are not counted.

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Record what overrode the config, so that a result is not taken for the config's own."""
        checkpoint['meta']['options'] = _plain(runner.cfg.get('options') or {})

    def before_train(self, runner: Any) -> None:
        """Find the folder; files that an earlier part of this run named are here, even if the folder was copied since.

        Files that it was about to remove when it was killed are removed now.
        """
        super().before_train(runner)
        info = runner.message_hub.runtime_info
        for key in [name for name in info if name.startswith(('last_ckpt', 'best_ckpt')) and info[name]]:
            here = self.file_backend.join_path(self.out_dir, Path(info[key]).name)
            info[key] = here if self.file_backend.exists(here) else None
        if getattr(self, 'best_ckpt_path', None):
            self.best_ckpt_path = info.get('best_ckpt')
        for key in getattr(self, 'best_ckpt_path_dict', {}):
            self.best_ckpt_path_dict[key] = info.get(f'best_ckpt_{key}')
        if is_main_process() and runner.iter:
            named = {
                Path(path).name for key, path in info.items() if key.startswith(('last_ckpt', 'best_ckpt')) and path
            }
            for name in set(info.get('outdated_ckpts', ())) - named:
                self._remove(self.file_backend.join_path(self.out_dir, name))

    def after_val_epoch(self, runner: Any, metrics: dict[str, float]) -> None:
        """Save the best checkpoint, and record in the last one that this validation is done."""
        runner.message_hub.update_info('validated_iter', runner.iter)
        saved = self._saved
        super().after_val_epoch(runner, metrics)
        if self._saved == saved and self.is_saved(runner):
            self._save_checkpoint_with_step(runner, runner.iter, {'epoch': runner.epoch, 'iter': runner.iter})

    def is_saved(self, runner: Any) -> bool:
        """Return whether the last checkpoint is that of this iteration, once it is complete."""
        name = runner.message_hub.runtime_info.get('last_ckpt')
        return not self.by_epoch and bool(name) and Path(name).name == self.filename_tmpl.format(runner.iter)

    def save_now(self, runner: Any) -> Path | None:
        """Save a checkpoint between two iterations, unless there is one; return it, or None before the first."""
        if runner.iter and not self.by_epoch and not self.is_saved(runner):
            self._save_checkpoint_with_step(runner, runner.iter, {'epoch': runner.epoch, 'iter': runner.iter})
        name = runner.message_hub.runtime_info.get('last_ckpt')
        return Path(name) if name else None

    def _save_checkpoint_with_step(self, runner: Any, step: int, meta: dict) -> None:
        """Save a checkpoint, then point to it, then remove those that are too old.

        Raises:
            UserError: The checkpoint would hold values that are not finite.
        """
        check_finite(runner)
        self._saved += 1
        outdated = []
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            kept = [*self.keep_ckpt_ids, step]
            outdated = kept[: -self.max_keep_ckpts]
            self.keep_ckpt_ids.append(step)  # A deque of max_keep_ckpts: older entries fall out.
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        outdated = [self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(old)) for old in outdated]
        # Including the best one that is being replaced: a run killed before it removes them does so on resuming.
        doomed = [Path(path).name for path in [*outdated, *getattr(self.file_backend, 'paths', ())]]
        runner.message_hub.update_info('outdated_ckpts', doomed)
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
                self._remove(old)

    def _save_best_checkpoint(self, runner: Any, metrics: dict[str, Any]) -> None:
        """Save the new best checkpoint, then remove the one before.

        A run without the metric that ``save_best`` names continues without a best checkpoint; mmengine ends it there.
        ``Runner.val`` before any training has none to keep; there too mmengine ends the run.
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
        check_finite(runner)
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

    After the last iteration the weights are checked too; before each checkpoint ``SafeCheckpointHook`` does it.

    Args:
        interval: Iterations between two checks. OneFormer's losses are on the CPU by then; others have to be waited
            for. With loss scaling (``--amp`` on a GPU) it is at least 50.
    """

    SCALED = 50  # A batch whose gradients are not finite is skipped then: one such loss does no harm, many do.

    def __init__(self, interval: int = 1) -> None:
        self.interval = interval

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Sequence[dict] | dict | None = None, outputs: dict | None = None
    ) -> None:
        """Check the losses of this iteration.

        Raises:
            UserError: One of them, or of the final weights, is NaN or infinite.
        """
        last = self.is_last_train_iter(runner)
        scaled = isinstance(getattr(runner, 'optim_wrapper', None), AmpOptimWrapper)
        interval = max(self.interval, self.SCALED) if scaled else self.interval
        if not last and not self.every_n_train_iters(runner, interval):
            return
        name = first_non_finite((outputs or {}).items())
        if name is not None:
            stop_at(runner, f'{name} is {float((outputs or {})[name].detach().sum())}', runner.iter + 1)
        if last:
            check_finite(runner)


@HOOKS.register_module()
class CheckClasses(Hook):
    """Ends a run whose model and data disagree about the classes, before it wastes any time.

    Such a model would train without an error: with one class too few, the last one becomes "no object". A metric that
    the annotations of the evaluated photos do not support also ends the run: its number would mean nothing.
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
        """Raise a ValueError unless number of classes and thing ids agree; models other than ours are not checked."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        meta = getattr(loop.dataloader.dataset, 'metainfo', {})
        if not isinstance(getattr(model, 'post_process', None), PostProcessor) or 'classes' not in meta:
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


def _plain(value: Any) -> Any:
    """Return the settings of a config as plain types: a checkpoint with the config's own types would be rejected."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value
