"""How a training starts: mixed precision, learning rate, other weights, an earlier run."""

import os
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict

from ..datasets.metainfo import metainfo_of
from ..errors import UserError
from ..models.fine_tuning import FINE_TUNING, is_fine_tuning
from ..models.precision import check_bf16_is_fast
from ..zoo.weights import missing_checkpoint
from ..zoo.work_dirs import latest_checkpoint

__all__ = ['scale_learning_rate', 'use_checkpoint', 'use_mixed_precision', 'use_weights']


def use_mixed_precision(cfg: Config) -> None:
    """Switch the optimiser wrapper of ``cfg`` to mixed precision.

    Raises:
        UserError: The config has another wrapper, or bf16 is slower than fp32 on this CPU.
    """
    kind = cfg.optim_wrapper.get('type', 'OptimWrapper')
    if kind not in ('OptimWrapper', 'AmpOptimWrapper', 'CpuAmpOptimWrapper'):
        raise UserError(
            f'mixed precision replaces optim_wrapper.type "OptimWrapper", but the config has "{kind}"; leave amp out.'
        )
    if torch.cuda.is_available():
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    else:
        check_bf16_is_fast()
        cfg.optim_wrapper.type = 'CpuAmpOptimWrapper'
        for key in ('loss_scale', 'dtype', 'use_fsdp'):  # of mmengine's wrapper for GPUs
            cfg.optim_wrapper.pop(key, None)


def scale_learning_rate(cfg: Config) -> None:
    """Scale the learning rate of ``cfg`` with the number of images per iteration.

    Raises:
        UserError: The config does not state which number it was chosen for.
    """
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise UserError(
            f'--auto-scale-lr needs auto_scale_lr.base_batch_size in {cfg.filename}: '
            'the images per iteration that its learning rate was chosen for.'
        )
    cfg.auto_scale_lr.enable = True


def use_weights(cfg: Config, weights: str | os.PathLike[str] | None) -> None:
    """Let ``cfg`` start from ``weights``, if they are given; whenever it starts from weights, name its classes.

    Raises:
        UserError: Weights are given and the model is not a OneFormer.
    """
    if weights is not None:
        if cfg.model.type != 'OneFormer':
            raise UserError(f'fine-tuning is for OneFormer, not for {cfg.model.type}; use load_from.')
        cfg.model.init_cfg = ConfigDict(type=FINE_TUNING, checkpoint=str(weights))
        cfg.options['fine_tune_from'] = str(weights)
    if is_fine_tuning(cfg.model.get('init_cfg')):
        cfg.model.init_cfg.setdefault('classes', metainfo_of(cfg.train_dataloader.dataset).get('classes'))


def use_checkpoint(cfg: Config, checkpoint: str | os.PathLike[str] | None) -> None:
    """Let ``cfg`` resume from a checkpoint, or from the latest one in its work dir if None is given.

    Raises:
        FileNotFoundError: The named checkpoint does not exist.
    """
    path = latest_checkpoint(cfg.work_dir) if checkpoint is None else Path(checkpoint)
    if path is None:
        print(f'There is no checkpoint in {cfg.work_dir} yet; training starts at iteration 0.')
        return
    if not path.is_file():
        raise missing_checkpoint(path)
    cfg.resume, cfg.load_from = True, str(path)
    if is_fine_tuning(cfg.model.get('init_cfg')):
        cfg.model.init_cfg = None  # The checkpoint's weights began there; that file may be gone.
