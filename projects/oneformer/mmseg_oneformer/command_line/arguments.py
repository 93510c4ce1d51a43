"""Flags that several tools have."""

import argparse
from typing import Any

from ..tasks import TASKS, check_task, check_tasks
from ..zoo.cfg_options import read_options

DTYPES = ('fp32', 'bf16', 'fp16')
"""The same as in ``models.precision``, which imports PyTorch; a test compares them."""


class _Options(argparse.Action):
    """KEY=VALUE pairs."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, flag: str | None = None
    ) -> None:
        """Store the pairs as a dict, along with those of earlier flags; anything else is a UserError."""
        setattr(namespace, self.dest, (getattr(namespace, self.dest) or {}) | read_options(values))


class _Tasks(argparse.Action):
    """Tasks, separated by blanks or commas."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, flag: str | None = None
    ) -> None:
        """Store the tasks as a tuple without duplicates; an unknown one is a UserError."""
        names = [name for name in ','.join(values).split(',') if name]
        setattr(namespace, self.dest, check_tasks(names or ['']))


class _Token(argparse.Action):
    """A task."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, flag: str | None = None
    ) -> None:
        """Store the task; an unknown one is a UserError."""
        setattr(namespace, self.dest, check_task(values))


def add_options_argument(parser: argparse.ArgumentParser, about: str = 'override the config') -> None:
    """Add ``--cfg-options``, a dict or None."""
    parser.add_argument('--cfg-options', nargs='+', action=_Options, metavar='KEY=VALUE', help=about)


def add_tasks_argument(parser: argparse.ArgumentParser, about: str = 'to predict') -> None:
    """Add ``--tasks``, a tuple of ``TASKS``: by default all of them."""
    parser.add_argument(
        '--tasks',
        nargs='+',
        action=_Tasks,
        metavar='TASK',
        default=TASKS,
        help=f'{about}: {", ".join(TASKS)} (default: all)',
    )


def add_token_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--token``, one of ``TASKS`` or None."""
    parser.add_argument('--token', action=_Token, metavar='TASK', help="make all predictions from this task's token")


def add_checkpoint_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``config`` and ``checkpoint``: the model to test."""
    parser.add_argument('config', help='config file, or the name of a model')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='a file, an https address or the name of a model (default: the published weights)',
    )


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that training and testing share with all OpenMMLab tools."""
    parser.add_argument('--work-dir', help='folder for logs and results (default: work_dirs/<config name>)')
    add_options_argument(
        parser,
        'settings that override the config, such as train_dataloader.batch_size=4, "key=[a,b]" or "key=[dict(type=X)]"',
    )
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='who started the processes'
    )
    parser.add_argument('--seed', type=int, help='seed of everything random (default: the one of the config)')
    parser.add_argument('--deterministic', action='store_true', help='deterministic algorithms where there are any')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument('--traceback', action='store_true', help='show the traceback of a mistake too')


def add_speed_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of all tools that predict for images."""
    parser.add_argument(
        '--dtype', choices=DTYPES, help='number format of the network; fp16 on a GPU only (default: fp32)'
    )
    parser.add_argument(
        '--compile', action='store_true', help='compile the network: slow first images; for GPUs, slower on CPUs'
    )


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags, besides ``--model``, of tools that load one model for use."""
    parser.add_argument('--weights', metavar='FILE', help='a checkpoint, or its https address (default: by the name)')
    parser.add_argument('--device', help='such as cpu or cuda:1 (default: a GPU if there is one)')
    add_speed_arguments(parser)
    add_options_argument(parser)
