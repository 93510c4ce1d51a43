"""Try a model in the browser: drop a photo, switch between its three predictions, move thresholds, download.

python tools/demo.py --model NAME_OR_CONFIG [--weights F.pth] [--device cuda:0] [--port 7860]

The tool prints the address of the page, which only this machine can open unless --host is given. Exit status: 0 after
Ctrl-C or SIGTERM, 2 for an invalid command line.
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
    parser.add_argument(
        '--host', default='127.0.0.1', help='address to listen on, 0.0.0.0 for all (default: %(default)s)'
    )
    parser.add_argument('--port', type=int, default=7860, help='port, 0 for any free one (default: %(default)s)')
    parser.add_argument('--max-megabytes', type=float, default=20, help='maximum size of a file (default: %(default)s)')
    parser.add_argument(
        '--max-megapixels', type=float, default=30, help='maximum size of a photo (default: %(default)s)'
    )
    args = parser.parse_args(argv)
    for name in ('max_megabytes', 'max_megapixels'):
        if not getattr(args, name) > 0:  # nan, too
            raise UserError(f'--{name.replace("_", "-")} is {getattr(args, name)}; give more than 0.')
    return args


with loading(__name__, parse_args):
    import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

    from mmseg_oneformer.command_line.model import load_model, warm_up
    from mmseg_oneformer.serving.app import create_app
    from mmseg_oneformer.serving.guard import Guard, is_loopback
    from mmseg_oneformer.serving.page_routes import add_page
    from mmseg_oneformer.serving.server import end_process, listen, run, url_of
    from mmseg_oneformer.serving.uploads import Limits

WAITING = 8
"""Maximum number of photos in progress: each user waits for one."""


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Load the model, predict for a blank picture, and serve the page."""
    args = parse_args(argv)
    with listen(args.host, args.port) as taken:
        infer = load_model(args)
        warm_up(infer)
        limits = Limits(int(args.max_megabytes * 1e6), int(args.max_megapixels * 1e6))
        app = create_app(infer, args.model, limits, max_waiting=WAITING)
        local = is_loopback(taken.getsockname()[0])
        app.add_middleware(Guard, local=local)
        add_page(app, infer, args.model, limits)
        if not local:
            print(
                'Everyone who reaches this machine can send photos: there is no password and no encryption.',
                file=sys.stderr,
            )
        taken.listen()  # Whoever reads the next line may connect before the server has started.
        print(f'Open {url_of(taken)} in a browser; Ctrl-C stops.', flush=True)
        run(app, taken)
    end_process()


if __name__ == '__main__':
    main()
