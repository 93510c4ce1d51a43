"""Prepare ADE20K: panoptic and instance annotations from the SceneParsing and the instance release.

python tools/dataset_converters/ade20k.py --root data/ade/ADEChallengeData2016

Reads images/, annotations/ and annotations_instance/; writes ade20k_panoptic_{train,val}.json with their folders of
PNGs and ade20k_instance_{train,val}.json. An interrupted run goes on where it was; on a finished data set it makes
everything again and writes what differs.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmseg_oneformer_cli import cli_errors, loading


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--root',
        type=Path,
        default=Path('data/ade/ADEChallengeData2016'),
        help='folder of the download (default: %(default)s)',
    )
    parser.add_argument('--out', type=Path, help='folder of what is written (default: --root)')
    parser.add_argument(
        '--splits', nargs='+', choices=['train', 'val'], default=['train', 'val'], help='default: train val'
    )
    parser.add_argument('--jobs', type=int, help='processes (default: one a core)')
    return parser.parse_args(argv)


with loading(__name__, parse_args):
    import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

    from mmseg_oneformer.preparation.ade20k import prepare_ade20k


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Prepare the splits that the command line asks for and say what was written."""
    args = parse_args(argv)
    for split in args.splits:
        for path in prepare_ade20k(args.root, args.out or args.root, split, args.jobs):
            print(f'{path}: complete')


if __name__ == '__main__':
    main()
