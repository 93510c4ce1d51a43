"""From a config to a trained model; ``tools/train.py`` is a thin layer above it."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from ..out_of_memory import explain_out_of_memory
from ..zoo.building import explain_mistakes
from ..zoo.configs import require
from ..zoo.weights import resolve_weights
from ..zoo.work_dirs import latest_checkpoint
from .data_config import DataPath
from .runs import build_runner, run_config
from .training_config import scale_learning_rate, use_checkpoint, use_mixed_precision, use_weights
from .work_dir import work_dir_lock

__all__ = ['TrainResult', 'run_training', 'train']


@dataclass(frozen=True)
class TrainResult:
    """The results of a training.

    Example:
        >>> run = train('oneformer_swin-t_8xb2-160k_ade20k-512x512', data='garden', fine_tune_from='...')
        >>> infer = OneFormerInferencer(run.config, run.weights)
    """

    work_dir: Path
    """Folder of the logs, the pictures and the checkpoints."""
    last: Path | None
    """The last checkpoint; None if the config writes none."""
    best: Path | None
    """The best one by ``default_hooks.checkpoint.save_best`` of the config; None if there was no validation."""
    results: dict[str, float]
    """The last validation's metrics by name, 0-100, if they have a value; empty if there was no validation."""
    config: Path
    """The complete config that was trained, which the inferencer, ``evaluate`` and ``tools/train.py`` accept."""

    @property
    def weights(self) -> Path | None:
        """The best checkpoint, else the last one."""
        return self.best or self.last


def train(
    config: str | os.PathLike[str] | Config,
    *,
    work_dir: str | os.PathLike[str] | None = None,
    data: DataPath | None = None,
    val: DataPath | None = None,
    fine_tune_from: str | os.PathLike[str] | None = None,
    resume: bool | str | os.PathLike[str] = False,
    amp: bool = False,
    seed: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> TrainResult:
    """Train a model.

    Args:
        config: A config's file, the name of a model, or a config, which is not changed.
        work_dir: Output folder (default: the config's, else ``work_dirs/<config name>``, to which the name of ``data``
            is added).
        data: Own data in place of the config's: a panoptic JSON with photos and PNGs beside it, or a folder that has
            one, or one for training and one for validation. Classes and metrics follow from the data. The length of
            the training is the config's, at most 10 000 iterations, or ``train_cfg.max_iters`` of ``options``;
            learning rate, validations and checkpoints are adapted to it.
        val: The same, to validate on; by default the validation data in ``data``, else every fifth photo, which is then
            not trained on. ``val=data`` validates on the training photos.
        fine_tune_from: Start from these weights, which may have other classes: a file, an https address or the name of
            a model.
        resume: Resume from the latest checkpoint of the work dir, if there is one, or from the one named here.
        amp: Mixed precision: float16 on a GPU, bfloat16 on the CPU.
        seed: Seeds everything random (default: the config's).
        options: Settings that override the config, by dotted key: ``{'train_dataloader.batch_size': 4}``.

    Returns:
        The paths of the results, and the last validation's metrics.

    Raises:
        FileNotFoundError: The data, the weights or the checkpoint do not exist.
        UserError: Config, data, weights and options do not fit together, or another training is using the work dir.
        SystemExit: With status 75, after SIGTERM or SIGUSR1; a checkpoint is saved, from which ``resume`` continues.
    """
    cfg = run_config(config, data=data, val=val, work_dir=work_dir, options=options, seed=seed)
    return run_training(cfg, fine_tune_from=fine_tune_from, resume=resume, amp=amp)


def run_training(
    cfg: Config,
    *,
    fine_tune_from: str | os.PathLike[str] | None = None,
    resume: bool | str | os.PathLike[str] = False,
    amp: bool = False,
    auto_scale_lr: bool = False,
) -> TrainResult:
    """Train with a config from :func:`run_config`; the other arguments are those of :func:`train`.

    Args:
        cfg: The config; it is changed.
        fine_tune_from: Weights to start from.
        resume: Whether to resume, or from which checkpoint.
        amp: Mixed precision.
        auto_scale_lr: Scale the learning rate with the number of images per iteration.
    """
    for key in ('model.type', 'train_dataloader.dataset', 'train_cfg', 'optim_wrapper'):
        require(cfg, key)
    if amp:
        use_mixed_precision(cfg)
    if auto_scale_lr:
        scale_learning_rate(cfg)
    use_weights(cfg, fine_tune_from)
    with work_dir_lock(cfg.work_dir, cfg.get('launcher', 'none')):
        if resume:
            use_checkpoint(cfg, None if resume is True else resume)
        elif latest_checkpoint(cfg.work_dir) is not None and is_main_process():
            print(
                f'{cfg.work_dir} holds a run, whose checkpoints this one replaces: '
                '--resume continues that one, --work-dir keeps both.'
            )
        if fine_tune_from is not None and not cfg.get('resume'):
            resolve_weights(fine_tune_from)  # A misspelt path is reported before anything is built.
        runner = build_runner(cfg)
        remedy = (
            'train with mixed precision (amp), model.backbone.with_cp=True or a smaller train_dataloader.batch_size'
        )
        with explain_mistakes(cfg), explain_out_of_memory(remedy):
            runner.train()
        return _result(runner)


def _is_score(name: str, value: Any) -> bool:
    """Return whether a scalar is a validation metric with a value, and not a time."""
    return name.startswith('val/') and not name.endswith('time') and math.isfinite(value)


def _result(runner: Runner) -> TrainResult:
    work_dir = Path(runner.work_dir)
    best = [hook.best_ckpt_path for hook in runner.hooks if isinstance(hook, CheckpointHook) and hook.save_best]
    # The hub keeps every scalar of the run; those of validations begin with "val/".
    scalars = {name: values.current() for name, values in runner.message_hub.log_scalars.items()}
    return TrainResult(
        work_dir,
        latest_checkpoint(work_dir),
        Path(best[0]) if best and best[0] else None,
        {name.removeprefix('val/'): float(value) for name, value in scalars.items() if _is_score(name, value)},
        work_dir / Path(runner.cfg.filename or f'{runner.timestamp}.py').name,
    )
