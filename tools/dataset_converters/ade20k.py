"""Prepare ADE20K: panoptic and instance annotations from the SceneParsing and the instance release.

python tools/dataset_converters/ade20k.py --root data/ade/ADEChallengeData2016

Reads images/, annotations/ and annotations_instance/; writes ade20k_panoptic_{train,val}.json with their folders of
PNGs and ade20k_instance_{train,val}.json. An interrupted run continues where it stopped; a second run
computes everything again and writes only what differs.
"""

from collections.abc import Sequence
from functools import partial

from mmseg_oneformer.command_line import cli_errors, loading, parse_download, prepare_splits

parse_args = partial(parse_download, __doc__, 'data/ade/ADEChallengeData2016')

with loading(__name__, parse_args):
    import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

    from mmseg_oneformer.preparation.ade20k import prepare_ade20k


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Prepare the splits that the command line names and print what was written."""
    prepare_splits(prepare_ade20k, parse_args(argv=argv))


if __name__ == '__main__':
    main()
