"""Prepare Cityscapes: panoptic annotations and train ids from the fine annotations.

python tools/dataset_converters/cityscapes.py --root data/cityscapes

Reads gtFine/<split>/; writes gtFine/cityscapes_panoptic_<split>.json with its folder of PNGs, and *_labelTrainIds.png
beside *_labelIds.png: the same files as cityscapesScripts, which need not be installed. An interrupted run goes on
where it was; on a finished data set it makes everything again and writes what differs.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmseg_oneformer_cli import cli_errors, loading


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--root', type=Path, default=Path('data/cityscapes'), help='folder of the download (default: %(default)s)'
    )
    parser.add_argument('--out', type=Path, help='folder of what is written (default: --root)')
    parser.add_argument(
        '--splits', nargs='+', choices=['train', 'val', 'test'], default=['train', 'val'], help='default: train val'
    )
    parser.add_argument('--jobs', type=int, help='processes (default: one a core)')
    return parser.parse_args(argv)


with loading(__name__, parse_args):
    import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

    from mmseg_oneformer.preparation.cityscapes import prepare_cityscapes


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Prepare the splits that the command line asks for and say what was written."""
    args = parse_args(argv)
    for split in args.splits:
        for path in prepare_cityscapes(args.root, args.out or args.root, split, args.jobs):
            print(f'{path}: complete')


if __name__ == '__main__':
    main()
