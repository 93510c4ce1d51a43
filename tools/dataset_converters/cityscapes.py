"""Prepare Cityscapes: panoptic annotations and train ids from the fine annotations.

python tools/dataset_converters/cityscapes.py --root data/cityscapes

Reads gtFine/<split>/; writes gtFine/cityscapes_panoptic_<split>.json with its folder of PNGs, and *_labelTrainIds.png
next to *_labelIds.png: the same files as cityscapesScripts, which need not be installed. An interrupted run
continues where it stopped; a second run computes everything again and writes only what differs.
"""

from collections.abc import Sequence
from functools import partial

from mmseg_oneformer.command_line import cli_errors, loading, parse_download, prepare_splits

parse_args = partial(parse_download, __doc__, 'data/cityscapes', splits=['train', 'val', 'test'])

with loading(__name__, parse_args):
    import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

    from mmseg_oneformer.preparation.cityscapes import prepare_cityscapes


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Prepare the splits that the command line names and print what was written."""
    prepare_splits(prepare_cityscapes, parse_args(argv=argv))


if __name__ == '__main__':
    main()
