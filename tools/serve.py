"""Serve predictions over HTTP.

python tools/serve.py --model NAME_OR_CONFIG [--weights F.pth] [--device cuda:0] [--port 8000]
curl --data-binary @photo.jpg "http://127.0.0.1:8000/predict?tasks=panoptic"

/docs describes the service for people, /openapi.json for programs. Exit status: 0 after SIGTERM or Ctrl-C, 2 for an
invalid command line.
"""

import argparse
import sys
from collections.abc import Sequence

from mmseg_oneformer.command_line import Parser, add_model_arguments, cli_errors, loading
from mmseg_oneformer.errors import UserError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Raises:
        UserError: A number is invalid.
    """
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--model', required=True, metavar='NAME_OR_CONFIG', help='name of a model, or a config file')
    add_model_arguments(parser)
    parser.add_argument('--threads', type=int, help="threads of PyTorch on a CPU (default: PyTorch's choice)")
    parser.add_argument(
        '--host', default='127.0.0.1', help='address to listen on, 0.0.0.0 for all (default: %(default)s)'
    )
    parser.add_argument('--port', type=int, default=8000, help='port, 0 for any free one (default: %(default)s)')
    parser.add_argument(
        '--max-batch', type=int, default=4, help='maximum photos of the same size per pass (default: %(default)s)'
    )
    parser.add_argument(
        '--max-wait-ms', type=float, default=0, help='how long a photo waits for others (default: %(default)s)'
    )
    parser.add_argument(
        '--max-waiting', type=int, default=64, help='maximum number of waiting photos (default: %(default)s)'
    )
    parser.add_argument(
        '--max-uploads', type=int, default=256, help='maximum number of uploads at a time (default: %(default)s)'
    )
    parser.add_argument(
        '--max-megabytes', type=float, default=20, help='maximum size of an upload (default: %(default)s)'
    )
    parser.add_argument(
        '--max-megapixels', type=float, default=30, help='maximum size of a photo (default: %(default)s)'
    )
    parser.add_argument('--max-seconds', type=float, default=30, help='time limit of an upload (default: %(default)s)')
    parser.add_argument(
        '--min-kilobytes-per-second', type=float, default=5, help='minimum speed of an upload (default: %(default)s)'
    )
    args = parser.parse_args(argv)
    least_values = {'threads': 1, 'max_batch': 1, 'max_wait_ms': 0, 'max_waiting': 1, 'max_uploads': 1}
    for name, least in least_values.items():
        value = getattr(args, name)
        if value is not None and not value >= least:
            raise UserError(f'--{name.replace("_", "-")} is {value}; give {least} or more.')
    for name in ('max_megabytes', 'max_megapixels', 'max_seconds', 'min_kilobytes_per_second'):
        value = getattr(args, name)
        if not value > 0:
            raise UserError(f'--{name.replace("_", "-")} is {value}; give more than 0.')
    return args


with loading(__name__, parse_args):
    import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

    import torch

    from mmseg_oneformer.command_line.model import load_model, warm_up
    from mmseg_oneformer.serving.app import create_app
    from mmseg_oneformer.serving.guard import Guard, is_loopback
    from mmseg_oneformer.serving.server import end_process, listen, run, url_of
    from mmseg_oneformer.serving.uploads import Limits


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Load the model, predict for a blank picture, and serve."""
    args = parse_args(argv)
    with listen(args.host, args.port) as taken:
        if args.threads is not None:
            torch.set_num_threads(args.threads)
        infer = load_model(args)
        warm_up(infer)
        limits = Limits(
            max_bytes=int(args.max_megabytes * 1e6),
            max_pixels=int(args.max_megapixels * 1e6),
            max_seconds=args.max_seconds,
            min_rate=1000 * args.min_kilobytes_per_second,
            max_uploads=args.max_uploads,
        )
        app = create_app(infer, args.model, limits, args.max_batch, args.max_wait_ms / 1000, args.max_waiting)
        local = is_loopback(taken.getsockname()[0])
        app.add_middleware(Guard, local=local)
        if not local:
            print('Everybody who reaches this machine can use the service: it has no password.', file=sys.stderr)
        url = url_of(taken)
        run(
            app,
            taken,
            lambda: print(f'{args.model} is served at {url}/predict, see {url}/docs; Ctrl-C stops.', flush=True),
        )
    end_process()


if __name__ == '__main__':
    main()
