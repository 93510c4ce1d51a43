"""Count the parameters and the multiply-adds of a model for one task, from shapes only.

python tools/analysis_tools/get_flops.py NAME_OR_CONFIG                              # at the size of the training crop
python tools/analysis_tools/get_flops.py NAME_OR_CONFIG --size 512 1024
python tools/analysis_tools/get_flops.py NAME_OR_CONFIG --photos data/coco/val2017   # mean, at test size

Post-processing and the text branch, which inference does not have, are not counted. mmdet's Mask2Former is actually
computed, which takes half a minute for Swin-L.
"""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmseg_oneformer.command_line import Parser, add_options_argument, cli_errors, loading
from mmseg_oneformer.errors import UserError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file, or the name of a model')
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        '--size', nargs=2, type=int, metavar=('H', 'W'), help='size of the image (default: training crop)'
    )
    where.add_argument(
        '--photos', nargs='+', type=Path, metavar='FOLDER', help='mean over the photos in these folders, at test size'
    )
    parser.add_argument('--json', action='store_true', help='print JSON')
    add_options_argument(parser)
    return parser.parse_args(argv)


with loading(__name__, parse_args):
    import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

    from mmengine.config import Config

    from mmseg_oneformer.analysis.flops import Size, crop_size, mean_operations, photo_inputs
    from mmseg_oneformer.models.skeleton import count_parameters, one_task_skeleton
    from mmseg_oneformer.text_table import format_table
    from mmseg_oneformer.zoo.configs import read_config


def images_of(args: argparse.Namespace, cfg: Config) -> Counter[Size]:
    """Return how many images there are of each size.

    Raises:
        UserError: No size can be found, or an invalid one was given.
    """
    if args.photos:
        return Counter(image.size for image in photo_inputs(args.photos, cfg).elements())
    height, width = args.size or crop_size(cfg)
    if min(height, width) < 1:
        raise UserError(f'--size is {height} {width}; give a height and a width in pixels.')
    return Counter({(height, width): 1})


def describe(content: dict[str, Any]) -> str:
    """Return what was counted as text."""
    sizes = ', '.join(f'{size["height"]} x {size["width"]} ({size["images"]})' for size in content['sizes'])
    rows = [
        [name, *(f'{value / 1e9:.3f}' for value in counts.values())]
        for name, counts in (content['parts'] | {'all': content['total']}).items()
    ]
    lines = [
        f'{content["model"]}: {content["parameters"] / 1e6:.3f} M parameters',
        f'G multiply-adds, one task; images: {sizes}',
        format_table(['part', 'usual counters see', 'every operation'], rows),
    ]
    if content['unknown']:
        lines.append(f'not counted, as their cost is not known: {", ".join(content["unknown"])}')
    return '\n'.join(lines)


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Count."""
    args = parse_args(argv)
    cfg = read_config(args.config, args.cfg_options)
    images = images_of(args, cfg)
    model = one_task_skeleton(cfg)
    counted = mean_operations(model, images)
    content = {
        'model': Path(args.config).stem,
        'parameters': count_parameters(model),
        'sizes': [{'height': h, 'width': w, 'images': number} for (h, w), number in images.most_common()],
        'parts': {
            part: {
                'seen': counted.usual.get(part, 0.0),
                'all': counted.usual.get(part, 0.0) + counted.other.get(part, 0.0),
            }
            for part in counted.parts
        },
        'total': {'seen': counted.seen, 'all': counted.all},
        'unknown': sorted(counted.unknown),
    }
    print(json.dumps(content, indent=2) if args.json else describe(content))


if __name__ == '__main__':
    main()
