"""Load-test the HTTP service: responses per second, percentiles, lost requests, memory.

python tools/analysis_tools/load_test.py --model NAME_OR_CONFIG --photos FOLDER --clients 16 --requests 500
python tools/analysis_tools/load_test.py --model NAME --photos FOLDER --max-batch 1 4 --out FILE --into docs/serving.md

Starts tools/serve.py once for each --max-batch and loads them in turn from this machine, whose cores the clients share.
Exit status: 0 if every request got a response, 1 if some were lost, 2 for an invalid command line.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

from mmseg_oneformer.command_line import Parser, add_tasks_argument, cli_errors, loading
from mmseg_oneformer.errors import UserError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Raises:
        UserError: A number is invalid.
    """
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--model', required=True, metavar='NAME_OR_CONFIG', help='as for tools/serve.py')
    parser.add_argument('--weights', metavar='FILE', help='as for tools/serve.py')
    parser.add_argument('--device', default='cpu', help='as for tools/serve.py (default: %(default)s)')
    parser.add_argument(
        '--photos', type=Path, required=True, metavar='FOLDER', help='folder whose first 50 photos are sent'
    )
    add_tasks_argument(parser, 'to request')
    parser.add_argument(
        '--clients', type=int, default=16, help='clients that send at the same time (default: %(default)s)'
    )
    parser.add_argument('--requests', type=int, default=500, help='requests to each service (default: %(default)s)')
    parser.add_argument(
        '--max-batch',
        type=int,
        nargs='+',
        default=[1, 4],
        help='start a service for each of these (default: %(default)s)',
    )
    parser.add_argument('--out', metavar='FILE', help='write the results as a JSON list')
    parser.add_argument('--into', metavar='PAGE', help='insert the table between the marks of this page')
    args = parser.parse_args(argv)
    if min(args.clients, args.requests, *args.max_batch) < 1:
        raise UserError('--clients, --requests and --max-batch must be 1 or more; correct them.')
    return args


with loading(__name__, parse_args):
    import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

    from benchmarks.performance_page import write_into
    from benchmarks.service_load import Load, measure, read_photos, start_server
    from benchmarks.settings import machine
    from mmseg_oneformer.files import check_writable, write_atomic
    from mmseg_oneformer.text_table import format_table

SERVE = Path(__file__).resolve().parents[1] / 'serve.py'
HEADER = [
    'service',
    'clients',
    'requests',
    'lost',
    'a second',
    'p50',
    'p95',
    'p99',
    'photos a pass',
    'memory',
    'growth',
]


@cli_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write; returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    args = parse_args(argv)
    if args.out is not None:
        check_writable(args.out)
    photos = read_photos(args.photos)
    given = ['--weights', args.weights] if args.weights else []
    command = [sys.executable, str(SERVE), '--model', args.model, *given, '--device', args.device, '--port', '0']
    # One request of each client always fits, so a lost request is due to a fault.
    command += ['--max-waiting', str(2 * args.clients)]
    with ExitStack() as stack:
        servers = [
            stack.enter_context(start_server(f'max-batch {size}', [*command, '--max-batch', str(size)]))
            for size in args.max_batch
        ]
        loads = measure(servers, photos, args.clients, args.requests, f'?tasks={",".join(args.tasks)}')
    cells = [_cells(load) for load in loads]
    print(format_table(HEADER, cells))
    context = {
        'command': f'python tools/analysis_tools/load_test.py {shlex.join(_described(argv))}',
        'model': args.model,
        'photos': f'{len(photos)}, median {sorted(photo.size for photo in photos)[len(photos) // 2]}',
        'machine': machine(args.device),
        'versions': ', '.join(f'{name} {version(name)}' for name in ('torch', 'fastapi', 'uvicorn')),
    }
    if args.out is not None:
        write_atomic(args.out, json.dumps([load._asdict() | context for load in loads], indent=1) + '\n')
    if args.into is not None:
        lines = [HEADER, ['---'] + ['---:'] * (len(HEADER) - 1), *cells]
        table = '\n'.join(f'| {" | ".join(line)} |' for line in lines)
        write_into(
            args.into, f'{table}\n\n```\n{context["command"]}\n```\n\n{context["machine"]}; {context["versions"]}'
        )
    return 1 if any(load.lost for load in loads) else 0


def _cells(load: Load) -> list[str]:
    memory = f'{load.rss_mb[0][1]:.0f} to {load.rss_mb[-1][1]:.0f} MB' if load.rss_mb else '-'
    return [
        load.name,
        str(load.clients),
        str(load.requests),
        str(load.lost),
        f'{load.per_second:.1f}',
        *(f'{1000 * seconds:.0f} ms' for seconds in (load.p50_s, load.p95_s, load.p99_s)),
        '-' if load.photos_per_pass is None else f'{load.photos_per_pass:.1f}',
        memory,
        '-' if load.growth_kb is None else f'{load.growth_kb:+.1f} kB a request',
    ]


def _described(argv: Sequence[str]) -> list[str]:
    """Return the command without the files of its results, which do not affect a figure."""
    places = ('--out', '--into')
    return [
        word
        for before, word in zip(('', *argv), argv)
        if before not in places and not word.startswith(('--out', '--into'))
    ]


if __name__ == '__main__':
    sys.exit(main())
