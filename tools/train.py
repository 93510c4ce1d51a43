"""Train the model of a config.

python tools/train.py CONFIG
python tools/train.py CONFIG --resume                  # from the latest checkpoint, if there is one
python tools/train.py CONFIG --fine-tune-from MODEL    # from other weights, for other classes too
bash tools/dist_train.sh CONFIG 8                      # 8 processes: a GPU each, or the CPU where there is none
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmseg_oneformer.command_line import add_common_arguments, cli_errors, loading
from mmseg_oneformer.errors import MissingFileError, UserError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Train the model of a config.')
    parser.add_argument('config', help='config file, or the name of a model')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from this checkpoint, or from the latest one in the work dir',
    )
    parser.add_argument(
        '--fine-tune-from',
        metavar='MODEL',
        help='start from these weights: a file, an https address or the name of a model; its classes may be others',
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision: float16 on a GPU, bfloat16 on the CPU')
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help='scale the learning rate with the number of images per iteration'
    )
    add_common_arguments(parser)
    return parser.parse_args(argv)


with loading(__name__, parse_args):
    import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

    import torch
    from mmengine.config import Config, ConfigDict
    from mmengine.dist import is_main_process
    from mmengine.runner import Runner

    from mmseg_oneformer.datasets.metainfo import metainfo_of
    from mmseg_oneformer.command_line.config import prepare_config
    from mmseg_oneformer.engine.hooks import latest_checkpoint
    from mmseg_oneformer.memory import keep_freed_memory
    from mmseg_oneformer.models.fine_tuning import FINE_TUNING, is_fine_tuning


def use_mixed_precision(cfg: Config) -> None:
    """Switch the optimiser wrapper of ``cfg`` to mixed precision.

    Raises:
        UserError: The config has a wrapper of its own kind.
    """
    kind = cfg.optim_wrapper.get('type', 'OptimWrapper')
    if kind not in ('OptimWrapper', 'AmpOptimWrapper', 'CpuAmpOptimWrapper'):
        raise UserError(f'--amp replaces optim_wrapper.type "OptimWrapper", the config has "{kind}"; leave --amp out.')
    if torch.cuda.is_available():
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    else:
        cfg.optim_wrapper.type = 'CpuAmpOptimWrapper'
        for key in ('loss_scale', 'dtype', 'use_fsdp'):  # of mmengine's wrapper for GPUs
            cfg.optim_wrapper.pop(key, None)


def set_resume(cfg: Config, resume: str) -> None:
    """Let ``cfg`` go on from the checkpoint ``resume``, or from the latest one if it is 'auto'.

    Raises:
        FileNotFoundError: The named checkpoint does not exist.
    """
    path = latest_checkpoint(cfg.work_dir) if resume == 'auto' else Path(resume)
    if path is None:
        print(f'There is no checkpoint in {cfg.work_dir} yet; training starts at iteration 0.')
        return
    if not path.is_file():
        raise MissingFileError(f'There is no checkpoint at {path} to resume from; check the path.')
    cfg.resume, cfg.load_from = True, str(path)
    if is_fine_tuning(cfg.model.get('init_cfg')):
        cfg.model.init_cfg = None  # What the checkpoint holds began there; the other file may be gone.


def set_fine_tuning(cfg: Config, checkpoint: str | None) -> None:
    """Let ``cfg`` start from ``checkpoint``, if one is given, and name its classes where it starts from any.

    Raises:
        UserError: A checkpoint is given and the model is no OneFormer.
    """
    if checkpoint is not None:
        if cfg.model.type != 'OneFormer':
            raise UserError(f'--fine-tune-from is for OneFormer, not for {cfg.model.type}; use load_from.')
        cfg.model.init_cfg = ConfigDict(type=FINE_TUNING, checkpoint=checkpoint)
        cfg.options['fine_tune_from'] = checkpoint
    if is_fine_tuning(cfg.model.get('init_cfg')):
        cfg.model.init_cfg.setdefault('classes', metainfo_of(cfg.train_dataloader.dataset).get('classes'))


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Train."""
    args = parse_args(argv)
    cfg = prepare_config(args)
    cfg.options = args.cfg_options or {}
    if not torch.cuda.is_available():
        keep_freed_memory()
    if args.amp:
        use_mixed_precision(cfg)
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise UserError(
                f'--auto-scale-lr needs auto_scale_lr.base_batch_size in {args.config}: '
                'the images per iteration that its learning rate was chosen for.'
            )
        cfg.auto_scale_lr.enable = True
    set_fine_tuning(cfg, args.fine_tune_from)
    if args.resume is not None:
        set_resume(cfg, args.resume)
    elif latest_checkpoint(cfg.work_dir) is not None and is_main_process():
        print(
            f'{cfg.work_dir} holds a run, whose checkpoints this one replaces: '
            '--resume goes on with that one, --work-dir keeps both.'
        )
    Runner.from_cfg(cfg).train()


if __name__ == '__main__':
    main()
