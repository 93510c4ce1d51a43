"""Measure time and memory of a network, a training step, or a part of them, compared with other code.

python tools/analysis_tools/benchmark.py infer --against transformers --out infer.json
python tools/analysis_tools/benchmark.py train --against mask2former --model NAME_OR_CONFIG --size 512 512
python tools/analysis_tools/benchmark.py infer --over size=256,512,1024            # how the cost grows
python tools/analysis_tools/benchmark.py infer --trace trace.json                  # for a trace viewer
python tools/analysis_tools/benchmark.py report infer.json train.json          # tables for a page

Both sides run in turn in one process, on the same input and, if possible, with the same weights. The tool prints the
median of the runs, with the fastest and the slowest; memory is the peak during one call, above what was in use before.
SUBCOMMAND --help explains each.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmseg_oneformer.command_line import Parser, cli_errors, loading

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # benchmarks/ is beside the package, not in it

with loading(__name__, None):  # Each subcommand has its own flags.
    import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

    from benchmarks import data, deformable_attention, eval as eval_, exported, infer, postprocess, train
    from benchmarks.performance_page import markdown_report, write_into
    from benchmarks.rows import format_rows, write_rows
    from benchmarks.scaling import scaling_tables
    from benchmarks.settings import add_common_arguments, apply_common_arguments, context
    from mmseg_oneformer.files import check_writable
    from mmseg_oneformer.text_table import format_table

COMMANDS = {
    'infer': infer,
    'train': train,
    'postprocess': postprocess,
    'data': data,
    'eval': eval_,
    'attention': deformable_attention,
    'exported': exported,
}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest='command', required=True)
    for name, module in COMMANDS.items():
        description = module.__doc__ or ''
        command = commands.add_parser(
            name,
            help=description.splitlines()[0].rstrip('.'),
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_common_arguments(command)
        module.add_arguments(command)
    report = commands.add_parser('report', help='Print tables for a page from what --out has written')
    report.add_argument('files', nargs='+', metavar='FILE', help='JSON written by --out')
    report.add_argument('--into', metavar='PAGE', help='insert the tables between the marks of this page')
    return parser.parse_args(argv)


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    argv = sys.argv[1:] if argv is None else argv
    args = parse_args(argv)
    if args.command == 'report':
        report = markdown_report(args.files)
        print(report, end='') if args.into is None else write_into(args.into, report)
        return
    apply_common_arguments(args)
    if args.out is not None:
        check_writable(args.out)
    rows = COMMANDS[args.command].run(args)
    print(format_rows(rows))
    for header, cells in scaling_tables(rows):
        print(f'\n{format_table(header, cells)}')
    if args.out is not None:
        write_rows(rows, args.out, context(args.device, argv))


if __name__ == '__main__':
    main()
