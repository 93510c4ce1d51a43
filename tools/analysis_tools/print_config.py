"""Print a config as it is after inheritance and overrides.

python tools/analysis_tools/print_config.py CONFIG [--cfg-options key=value ...]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmseg_oneformer.command_line import Parser, add_options_argument, cli_errors, loading
from mmseg_oneformer.errors import UserError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Raises:
        UserError: The file to write has an unsupported suffix.
    """
    parser = Parser(description='Print a config after inheritance and overrides.')
    parser.add_argument('config', help='config file, or the name of a model')
    parser.add_argument(
        '--for-inference', action='store_true', help='without the text branch, as used by test and infer'
    )
    parser.add_argument('--save-path', type=Path, help='also write to this .py, .json or .yml file')
    add_options_argument(parser, 'overrides')
    args = parser.parse_args(argv)
    if args.save_path is not None and args.save_path.suffix not in ('.py', '.json', '.yml', '.yaml'):
        raise UserError(f'--save-path is {args.save_path}; it must end in .py, .json or .yml.')
    return args


with loading(__name__, parse_args):
    import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

    from mmseg_oneformer.checkpoints.checkpoint import for_inference
    from mmseg_oneformer.files import atomic_path
    from mmseg_oneformer.zoo.configs import read_config


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Print."""
    args = parse_args(argv)
    cfg = read_config(args.config, args.cfg_options)
    if args.for_inference:
        cfg = for_inference(cfg)
    print(cfg.pretty_text)
    if args.save_path is not None:
        with atomic_path(args.save_path) as temporary:
            cfg.dump(temporary)


if __name__ == '__main__':
    main()
