r"""Write a JSON that lists photos without annotations, so that tools/test.py --format-only can predict for them.

python tools/dataset_converters/image_list.py data/coco/annotations/image_info_test-dev2017.json \
    --categories data/coco/annotations/panoptic_val2017.json --out data/coco/annotations/panoptic_test-dev2017.json
python tools/dataset_converters/image_list.py data/cityscapes/leftImg8bit/test \
    --categories data/cityscapes/gtFine/cityscapes_panoptic_val.json --out data/cityscapes/cityscapes_panoptic_test.json

The photos are those of a JSON with "images", or all in a folder; categories are copied from a panoptic JSON.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from mmseg_oneformer.command_line import Parser, cli_errors, loading


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', type=Path, metavar='FOLDER_OR_JSON', help='the photos, or a JSON that lists them')
    parser.add_argument('--categories', type=Path, required=True, metavar='JSON', help='panoptic JSON of another split')
    parser.add_argument('--out', type=Path, required=True, metavar='JSON', help='file to write')
    return parser.parse_args(argv)


with loading(__name__, parse_args):
    import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

    from mmseg_oneformer.errors import UserError
    from mmseg_oneformer.files import check_not_input, write_atomic
    from mmseg_oneformer.preparation.image_list import image_list


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Write the JSON and print how many photos it lists."""
    args = parse_args(argv)
    if args.out.suffix != '.json':  # It could be a photo.
        raise UserError(f'--out is {args.out}, which does not end in .json; give the name of a JSON.')
    check_not_input(args.out, args.categories, args.source if args.source.is_file() else None)
    content = image_list(args.source, args.categories)
    write_atomic(args.out, json.dumps(content))
    print(f'{args.out}: {len(content["images"])} photos')


if __name__ == '__main__':
    main()
