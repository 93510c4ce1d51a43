"""The config of the run that a command line describes."""

import argparse
import os

import torch
from mmengine.config import Config

from ..engine.runs import run_config
from ..memory import keep_freed_memory
from .manners import TRACEBACK


def prepare_config(args: argparse.Namespace) -> Config:
    """Return the config of ``args`` with the common flags applied, and start the process group if there is a launcher.

    Args:
        args: Result of a parser with ``config``, the arguments of
            ``mmseg_oneformer.command_line.add_common_arguments`` and, optionally, ``data`` and ``val``.
    """
    if args.traceback:
        os.environ[TRACEBACK] = '1'
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if not torch.cuda.is_available():
        keep_freed_memory()
    return run_config(
        args.config,
        data=getattr(args, 'data', None),
        val=getattr(args, 'val', None),
        work_dir=args.work_dir,
        options=args.cfg_options,
        seed=args.seed,
        deterministic=args.deterministic,
        launcher=args.launcher,
    )
