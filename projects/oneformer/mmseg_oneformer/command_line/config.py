"""The config that a command line names."""

import argparse
import os
from pathlib import Path

from mmengine.config import Config, ConfigDict

from ..launch import init_distributed
from ..zoo.configs import find_config, read_config
from .manners import TRACEBACK


def prepare_config(args: argparse.Namespace) -> Config:
    """Return the config of ``args`` with the common flags applied, and start the process group if there is a launcher.

    Args:
        args: Result of a parser with ``config`` and the arguments of
            ``mmseg_oneformer.command_line.add_common_arguments``.
    """
    if args.traceback:
        os.environ[TRACEBACK] = '1'
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / find_config(args.config).stem)
    if args.seed is not None or args.deterministic:
        randomness = ConfigDict(cfg.get('randomness') or {})
        if args.seed is not None:
            randomness.seed = args.seed
        randomness.deterministic = args.deterministic or randomness.get('deterministic', False)
        cfg.randomness = randomness
    if (cfg.get('randomness') or {}).get('deterministic'):
        os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')  # Else the first matrix product on a GPU raises.
    init_distributed(cfg, args.launcher)
    return cfg
