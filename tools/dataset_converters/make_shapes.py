"""Draw the Shapes data set: COCO-panoptic files for a first run without any download.

python tools/dataset_converters/make_shapes.py --out data/shapes

A complete data set with the same settings is not changed.
"""

import argparse
import time
from collections.abc import Sequence

from mmseg_oneformer.command_line import Parser, cli_errors, loading


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', default='data/shapes', help='folder to create (default: %(default)s)')
    parser.add_argument('--train', type=int, default=4000, help='training pictures (default: %(default)s)')
    parser.add_argument('--val', type=int, default=200, help='validation pictures (default: %(default)s)')
    parser.add_argument('--size', type=int, default=96, help='height and width in pixels (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='seed of the pictures (default: %(default)s)')
    parser.add_argument('--overwrite', action='store_true', help='replace shapes that were drawn with other settings')
    return parser.parse_args(argv)


with loading(__name__, parse_args):
    import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

    from mmseg_oneformer.datasets.shapes import write_shapes


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Draw the data set and report it."""
    args = parse_args(argv)
    start = time.perf_counter()
    drawn = write_shapes(**vars(args))
    if drawn:
        print(f'{args.out}: {args.train} + {args.val} pictures drawn in {time.perf_counter() - start:.1f} s')
    else:
        print(f'{args.out}: already complete')


if __name__ == '__main__':
    main()
