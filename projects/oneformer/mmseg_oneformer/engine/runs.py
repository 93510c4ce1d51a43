"""The config of one run, and its runner: what training and evaluation have in common."""

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from ..errors import UserError
from ..launch import init_distributed
from ..zoo.building import explain_mistakes
from ..zoo.configs import merge_options, read_config
from ..zoo.model_file import is_model_file
from ..zoo.work_dirs import WORK_DIRS
from .data_config import DataPath, use_data
from .runner import ConsoleRunner

__all__ = ['build_runner', 'run_config']


def run_config(
    config: str | os.PathLike[str] | Config,
    *,
    data: DataPath | None = None,
    val: DataPath | None = None,
    work_dir: str | os.PathLike[str] | None = None,
    options: Mapping[str, Any] | None = None,
    seed: int | None = None,
    deterministic: bool = False,
    launcher: str = 'none',
) -> Config:
    """Return the config of a run, and start the process group if there is a launcher.

    Args:
        config: A file, the name of a model, or a config, which is not changed.
        data: Own data in place of the config's, as for :func:`use_data`.
        val: Own data to validate and measure on.
        work_dir: Folder for logs and results (default: the config's, else ``work_dirs/<config name>``).
        options: What overrides the config, by dotted key.
        seed: Seeds everything random (default: the config's).
        deterministic: Use deterministic algorithms where there are any.
        launcher: Who started the processes: 'none', 'pytorch', 'slurm' or 'mpi'.

    Raises:
        UserError: There is no such config, or an option or the data do not fit.
    """
    if not isinstance(config, Config) and is_model_file(config):
        raise UserError(f'{config} is a model and does not define data; give a config first, and it as checkpoint.')
    cfg = copy.deepcopy(config) if isinstance(config, Config) else read_config(config)
    if not isinstance(options, Mapping | None):
        raise UserError(f'options are a dict such as {{"train_cfg.max_iters": 4}}, not {options!r}.')
    options = dict(options or {})
    if data is not None:
        cfg = use_data(cfg, data, val, options)
    elif val is not None:
        raise UserError('val goes with data; give both, or set val_dataloader in the config.')
    merge_options(cfg, options)
    cfg.options, cfg.launcher = options, launcher
    if work_dir is not None:
        cfg.work_dir = str(work_dir)
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(WORK_DIRS / Path(cfg.filename or 'config').stem)
    if seed is not None and not 0 <= seed < 2**32:
        raise UserError(f'A seed is from 0 to {2**32 - 1}, not {seed}; choose another one.')
    if seed is not None or deterministic:
        cfg.randomness = ConfigDict(cfg.get('randomness') or {})
        cfg.randomness.seed = cfg.randomness.get('seed') if seed is None else seed
        cfg.randomness.deterministic = deterministic or cfg.randomness.get('deterministic', False)
    if (cfg.get('randomness') or {}).get('deterministic'):
        os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')  # Else the first matrix product on a GPU raises.
    init_distributed(cfg, launcher)
    return cfg


def build_runner(cfg: Config) -> ConsoleRunner:
    """Return the runner of a config."""
    with explain_mistakes(cfg):
        return ConsoleRunner.from_cfg(cfg)
