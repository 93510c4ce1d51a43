"""The tools that prepare a benchmark's download: their common command line, and how they run."""

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from .parser import Parser


def parse_download(
    about: str,
    root: str,
    splits: Sequence[str] = ('train', 'val'),
    default: Sequence[str] = ('train', 'val'),
    argv: Sequence[str] | None = None,
) -> argparse.Namespace:
    """Read the command line.

    Args:
        about: Docstring of the tool.
        root: Default folder of the download.
        splits: All splits.
        default: The splits that are prepared by default.
        argv: By default that of the process.
    """
    parser = Parser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--root', type=Path, default=Path(root), help='folder of the download (default: %(default)s)')
    parser.add_argument('--out', type=Path, help='folder of what is written (default: --root)')
    parser.add_argument('--splits', nargs='+', choices=splits, default=default, help=f'default: {" ".join(default)}')
    parser.add_argument('--jobs', type=int, help='processes (default: one a core)')
    return parser.parse_args(argv)


def prepare_splits(prepare: Callable[[Path, Path, str, int | None], Iterable[Path]], args: argparse.Namespace) -> None:
    """Prepare the splits of :func:`parse_download` and print what was written.

    Args:
        prepare: Takes root, output folder, split and number of processes, and returns what it wrote.
        args: The command line.
    """
    for split in args.splits:
        for path in prepare(args.root, args.out or args.root, split, args.jobs):
            print(f'{path}: complete')
