"""Derive COCO's instance JSON and semantic PNGs from its panoptic annotations.

python tools/dataset_converters/coco.py --root data/coco

Training and evaluation derive the same while loading and need none of these files: the panoptic annotations as
downloaded are enough. For other tools it writes annotations/panoptic2instances_<split>2017.json (things only) and
annotations/panoptic_semseg_<split>2017/ (class index, 255 = none). An interrupted run goes on where it was.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmseg_oneformer_cli import cli_errors, loading


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--root', type=Path, default=Path('data/coco'), help='folder of the download (default: %(default)s)'
    )
    parser.add_argument('--out', type=Path, help='folder of what is written (default: --root)')
    parser.add_argument('--splits', nargs='+', choices=['train', 'val'], default=['val'], help='default: val')
    parser.add_argument('--jobs', type=int, help='processes (default: one a core)')
    return parser.parse_args(argv)


with loading(__name__, parse_args):
    import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

    from mmseg_oneformer.preparation.coco import prepare_coco


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Prepare the splits that the command line asks for and say what was written."""
    args = parse_args(argv)
    for split in args.splits:
        for path in prepare_coco(args.root, args.out or args.root, split, args.jobs):
            print(f'{path}: complete')


if __name__ == '__main__':
    main()
