"""Derive COCO's instance JSON and semantic PNGs from its panoptic annotations.

python tools/dataset_converters/coco.py --root data/coco

Training and evaluation do not need these files: they derive the same from the downloaded panoptic annotations while
loading. For other tools this writes annotations/panoptic2instances_<split>2017.json (things only) and
annotations/panoptic_semseg_<split>2017/ (class index, 255 = none). An interrupted run continues where it stopped.
"""

from collections.abc import Sequence
from functools import partial

from mmseg_oneformer.command_line import cli_errors, loading, parse_download, prepare_splits

parse_args = partial(parse_download, __doc__, 'data/coco', default=['val'])

with loading(__name__, parse_args):
    import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

    from mmseg_oneformer.preparation.coco import prepare_coco


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Prepare the splits that the command line names and print what was written."""
    prepare_splits(prepare_coco, parse_args(argv=argv))


if __name__ == '__main__':
    main()
