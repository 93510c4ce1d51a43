"""Print the tables of the paper, with our parameters, operations and results next to the published numbers.

python tools/analysis_tools/paper_tables.py                       # all tables, our parameters, results below work_dirs
python tools/analysis_tools/paper_tables.py --table 1 8 --results work_dirs /other/runs
python tools/analysis_tools/paper_tables.py --table 1 2 3 --flops --format markdown --out tables.md

A results.json fills the cells of its model; several seeds give mean ± standard deviation (number of runs).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmseg_oneformer.command_line import Parser, cli_errors, loading

RESULTS = Path('work_dirs')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--table', nargs='+', metavar='NUMBER', help='tables to print, such as 1 or IV (default: all)')
    parser.add_argument('--columns', nargs='+', metavar='NAME', help='columns to print, such as PQ (default: all)')
    parser.add_argument('--ours', action='store_true', help='only rows with a config in this project')
    parser.add_argument(
        '--results',
        nargs='+',
        type=Path,
        metavar='FOLDER',
        help=f'folders with results*.json, at any depth (default: {RESULTS}, if it exists)',
    )
    parser.add_argument(
        '--flops', action='store_true', help='also count operations (Tables 1 to 3; one or two minutes)'
    )
    parser.add_argument(
        '--photos',
        nargs='+',
        type=Path,
        metavar='FOLDER',
        help='photos over whose sizes the FLOPs of Table 3 are averaged (default: those of data/coco_mini, if any)',
    )
    parser.add_argument('--format', choices=['text', 'markdown', 'json'], default='text', help='(default: text)')
    parser.add_argument('--out', metavar='FILE', help='write to this file instead of the terminal')
    return parser.parse_args(argv)


with loading(__name__, parse_args):
    import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

    from mmseg_oneformer.analysis.paper import load_paper, select
    from mmseg_oneformer.analysis.paper_tables import fill_table, format_json, format_tables
    from mmseg_oneformer.analysis.results_cells import find_results
    from mmseg_oneformer.files import check_writable, write_atomic

PHOTOS = (Path('data/coco_mini/train2017'), Path('data/coco_mini/val2017'))


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Print."""
    args = parse_args(argv)
    if args.out is not None:
        check_writable(args.out)
    tables = select(load_paper(), args.table, args.columns, args.ours)
    results = find_results(args.results or [folder for folder in (RESULTS,) if folder.is_dir()])
    photos = args.photos or [folder for folder in PHOTOS if folder.is_dir()]
    filled = [fill_table(table, results, args.flops, photos) for table in tables]
    text = format_json(filled) if args.format == 'json' else format_tables(filled, args.format == 'markdown')
    if args.out is None:
        print(text, end='')
    else:
        write_atomic(args.out, text)
        print(f'{args.out}: {len(tables)} tables')


if __name__ == '__main__':
    main()
