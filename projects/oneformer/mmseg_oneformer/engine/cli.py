"""Manners of the command line: a user's mistake ends in one sentence and exit status 2, a bug in a traceback."""

import argparse
import functools
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from mmengine.config import Config, ConfigDict, DictAction

from ..apis.registry import find_config, read_config
from ..launch import init_distributed
from ..models.precision import DTYPES

Main = TypeVar('Main', bound=Callable[..., Any])

TRACEBACK = 'ONEFORMER_TRACEBACK'
"""Environment variable (or ``--traceback``) for developers: mistakes show their traceback too."""


def cli_errors(main: Main) -> Main:
    """Decorate a tool's ``main``: a mistake is printed as ``error: <sentence>`` and the exit status is 2."""

    @functools.wraps(main)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return main(*args, **kwargs)
        except BrokenPipeError:  # `| head` has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)
        except Exception as error:
            sentence = describe_mistake(error)
            if sentence is None or os.environ.get(TRACEBACK, '0') not in ('', '0'):
                raise
            print(f'error: {sentence}', file=sys.stderr, flush=True)
            sys.exit(2)
        except KeyboardInterrupt:
            print('interrupted', file=sys.stderr)
            sys.exit(130)

    return run  # type: ignore[return-value]


def describe_mistake(error: Exception) -> str | None:
    """Return one sentence for what a user did wrong, or None if ``error`` looks like a bug."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if 'in DataLoader worker process' in text:
        # The loader raises the worker's exception again, with the worker's traceback as its message.
        kind, _, sentence = text.strip().splitlines()[-1].partition(': ')
        known = {'ValueError': ValueError, 'FileNotFoundError': FileNotFoundError, 'OSError': OSError}
        return describe_mistake(known[kind](sentence)) if kind in known else None
    if isinstance(error, KeyError) and 'is not in the' in text:
        return f'{text.split(". ")[0]}; check the spelling of this `type` in the config.'
    if isinstance(error, KeyError):
        return text if ' ' in text else None
    if isinstance(error, OSError) and error.filename is not None:
        return f'{error.strerror}: {error.filename}.'
    if isinstance(error, TypeError):
        # A wrong argument in the config: the call that failed is the registry's own.
        frames = traceback.extract_tb(error.__traceback__)
        raised_by_registry = bool(frames) and Path(frames[-1].filename).name == 'build_functions.py'
        return f'{text}; check this part of the config.' if raised_by_registry else None
    if isinstance(error, AttributeError):
        match = re.search(r"'(?:ConfigDict|Config)' object has no attribute '(\w+)'", text)
        return f'the config has no "{match.group(1)}", which this command needs.' if match else None
    if isinstance(error, ValueError | OSError | ImportError):
        # A ValueError that nobody raised on purpose (arrays that do not fit, too many values to unpack) is a bug.
        frames = traceback.extract_tb(error.__traceback__)
        if type(error) is ValueError and frames and frames[-1].line and not frames[-1].line.startswith('raise'):
            return None
        return ' '.join(text.split()) or type(error).__name__
    return None


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that training and testing share with all OpenMMLab tools."""
    parser.add_argument('--work-dir', help='folder for logs and results (default: work_dirs/<config name>)')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='settings that override the config, such as train_dataloader.batch_size=4 or "key=[a,b]" (no blanks)',
    )
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='who started the processes'
    )
    parser.add_argument('--seed', type=int, help='seed of everything random (default: the one of the config)')
    parser.add_argument('--deterministic', action='store_true', help='deterministic algorithms where there are any')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument('--traceback', action='store_true', help='show the traceback of a mistake too')


def add_speed_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of all tools that answer images."""
    parser.add_argument(
        '--dtype', choices=list(DTYPES), help='number format of the network; fp16 on a GPU only (default: fp32)'
    )
    parser.add_argument(
        '--compile', action='store_true', help='compile the network: slow first images; for GPUs, slower on CPUs'
    )


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of tools that load one model for use, beside ``--model``."""
    parser.add_argument('--weights', metavar='FILE', help='a checkpoint, or its https address (default: by the name)')
    parser.add_argument('--device', help='such as cpu or cuda:1 (default: a GPU if there is one)')
    add_speed_arguments(parser)
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='override the config')


def prepare_config(args: argparse.Namespace) -> Config:
    """Return the config of ``args`` with the common flags applied, and start the process group if there is a launcher.

    Args:
        args: Result of a parser with ``config`` and the arguments of ``add_common_arguments``.
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
