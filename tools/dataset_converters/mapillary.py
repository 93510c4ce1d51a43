"""Check a download of Mapillary Vistas 1.2, and make its panoptic annotations if they are missing.

python tools/dataset_converters/mapillary.py --root data/mapillary

The release contains <folder>/panoptic/ with panoptic_2018.json. If it is missing, it is made from <folder>/instances/
and config.json.
"""

from collections.abc import Sequence
from functools import partial

from mmseg_oneformer.command_line import cli_errors, loading, parse_download, prepare_splits

parse_args = partial(parse_download, __doc__, 'data/mapillary')

with loading(__name__, parse_args):
    import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

    from mmseg_oneformer.preparation.mapillary import prepare_mapillary


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Prepare the splits that the command line names and print what was written."""
    prepare_splits(prepare_mapillary, parse_args(argv=argv))


if __name__ == '__main__':
    main()
