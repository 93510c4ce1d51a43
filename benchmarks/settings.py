"""What all subcommands share: where and how often to measure, and what is recorded about it."""

import argparse
import platform
import shlex
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from mmseg_oneformer.errors import UserError


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of every subcommand that measures."""
    parser.add_argument('--device', default='cpu', help='such as cpu or cuda:0 (default: %(default)s)')
    parser.add_argument('--threads', type=int, help="of PyTorch (default: PyTorch's own choice)")
    parser.add_argument('--runs', type=int, default=5, help='timed runs of each side (default: %(default)s)')
    parser.add_argument('--warmup', type=int, default=1, help='runs before them (default: %(default)s)')
    parser.add_argument('--out', metavar='FILE', help='write the rows as JSON, a list')


def apply_common_arguments(args: argparse.Namespace) -> None:
    """Set the number of threads, and make sure that the device is available before anything is built.

    Raises:
        UserError: There is no such device, or a number is too small.
    """
    for name, least in (('threads', 1), ('runs', 1), ('warmup', 0)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise UserError(f'--{name} is {value}; give {least} or more.')
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    try:
        torch.empty(0, device=args.device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0].rstrip('.')
        raise UserError(f'--device {args.device} cannot be used ({reason}); choose cpu, or cuda with a GPU.') from error


def context(device: str, argv: Sequence[str]) -> dict[str, str]:
    """Return what has to accompany figures: the command, the machine, the versions.

    The path of the JSON file, which does not affect a figure but may reveal its owner, is left out.
    """
    described = [
        word
        for before, word in zip(('', *argv), argv)
        if '--out' not in (before, word) and not word.startswith('--out=')
    ]
    return {
        'command': f'python tools/analysis_tools/benchmark.py {shlex.join(described)}',
        'machine': machine(device),
        'versions': ', '.join(
            f'{name} {number}'
            for name in ('torch', 'transformers', 'mmdet', 'mmcv', 'mmcv-lite')
            if (number := _version(name))
        ),
    }


def machine(device: str) -> str:
    """Return the processor and the number of threads used, and the GPU if that is measured."""
    names = [line.partition(':')[2].strip() for line in _lines(Path('/proc/cpuinfo')) if line.startswith('model name')]
    processor = names[0] if names else platform.processor() or platform.machine()
    text = f'{processor}, {torch.get_num_threads()} threads'
    return f'{torch.cuda.get_device_name(device)}; {text}' if torch.device(device).type == 'cuda' else text


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
