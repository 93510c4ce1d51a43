r"""Turn your own annotations into panoptic files for training. Photos are not changed.

python tools/dataset_converters/to_panoptic.py coco instances.json --images photos/train --semantic masks/train \
    --stuff lawn=1 path=2 --out data/garden/annotations --name train
python tools/dataset_converters/to_panoptic.py labelme labels --images photos --things dog cat --stuff lawn \
    --out data/garden/annotations --name train --config-out configs/oneformer/garden/oneformer_r50_garden.py

Writes OUT/panoptic_NAME.json and OUT/panoptic_NAME/*.png. Annotations are drawn in this order, later ones on top:

1. The semantic PNG. Its pixels of a thing class without an object become one crowd of that class.
2. Regions of stuff, larger ones first. All regions of one stuff class form one segment.
3. Crowds, larger ones first; they stay crowds (iscrowd 1).
4. Objects, larger ones first; of equally large ones the later in the file is on top.

Pixels that nothing covers are void (id 0), or of the class of --rest. Completely covered objects are dropped. Objects
that are broken, such as an outline of two points, are left out, counted and listed; --strict stops instead.

--stuff @stuff.txt reads a list of classes from a file, one per line. An interrupted run continues where it stopped.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from mmseg_oneformer.command_line import Parser, cli_errors, loading
from mmseg_oneformer.errors import UserError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line: one subcommand per format."""
    parser = Parser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, fromfile_prefix_chars='@'
    )
    formats = parser.add_subparsers(dest='format', required=True, metavar='FORMAT')
    coco = add_format(formats, 'coco', 'COCO instance JSON: its categories are things', 'the instance JSON', 255)
    add_format(formats, 'voc', 'Pascal VOC, CVAT masks', 'folder with SegmentationObject/ and SegmentationClass/', 255)
    add_format(formats, 'labelme', 'labelme: one JSON per photo', 'folder of the JSONs')
    yolo = add_format(formats, 'yolo', 'YOLO segmentation: one text file per photo', 'folder of the text files', 255)
    ids = add_format(formats, 'cityscapes-ids', 'PNGs of class * 1000 + number', 'folder of the PNGs', 0)
    for sub in (coco, yolo):
        sub.add_argument('--semantic', type=Path, help='folder of semantic PNGs, named like the photos')
    coco.add_argument('--crowds-are-objects', action='store_true', help='each crowd is one object, as in CVAT masks')
    yolo.add_argument(
        '--names', nargs='+', required=True, help='class names in their order, a data.yaml or classes.txt'
    )
    ids.add_argument(
        '--divisor', type=int, default=1000, help='factor of the class; 256 for KITTI (default: %(default)s)'
    )
    ids.add_argument('--photo-suffix', default='', help='ending of the names of photos, such as _leftImg8bit')
    ids.add_argument('--ids-suffix', default='', help='ending of the names of PNGs, such as _gtFine_instanceIds')
    return parser.parse_args(argv)


def add_format(
    formats: argparse._SubParsersAction, name: str, about: str, annotations: str, void: int | None = None
) -> argparse.ArgumentParser:
    """Add a subcommand with the arguments of all formats; ``void`` is the default of --void, None: no such flag."""
    sub = formats.add_parser(name, help=about, description=about, fromfile_prefix_chars='@')
    sub.add_argument('annotations', type=Path, help=annotations)
    sub.add_argument('--images', type=Path, required=True, help='folder of the photos')
    sub.add_argument('--out', type=Path, required=True, help='folder to write into')
    sub.add_argument('--name', default='train', help='name of the split, part of the file names (default: %(default)s)')
    sub.add_argument(
        '--things', nargs='+', default=[], metavar='NAME[=VALUE]', help='countable classes and their values'
    )
    sub.add_argument('--stuff', nargs='+', default=[], metavar='NAME[=VALUE]', help='other classes and their values')
    if void is not None:
        sub.add_argument(
            '--void',
            nargs='+',
            type=int,
            metavar='VALUE',
            help=f'ignored values (default: {void}, unless a class has it)',
        )
    sub.add_argument('--ignore', nargs='+', default=[], metavar='NAME', help='classes that become void')
    sub.add_argument('--rest', metavar='CLASS', help='stuff class of the pixels that nothing covers')
    sub.add_argument('--strict', action='store_true', help='stop at a broken object instead of leaving it out')
    sub.add_argument(
        '--list', type=Path, help='text file that lists the photos to use, one name without suffix per line'
    )
    sub.add_argument('--jobs', type=int, help='number of processes (default: all cores)')
    sub.add_argument('--config-out', type=Path, metavar='FILE', help='write a config for training on the result')
    return sub


with loading(__name__, parse_args):
    import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

    from mmseg_oneformer.annotations.text import read_text
    from mmseg_oneformer.annotations.yolo import check_names, read_yolo_names
    from mmseg_oneformer.files import check_folder, write_atomic
    from mmseg_oneformer.preparation.formats import CocoFormat, InstanceIdFormat, LabelmeFormat, VocFormat, YoloFormat
    from mmseg_oneformer.preparation.own_config import own_config
    from mmseg_oneformer.preparation.own_data import Format, Written, write_panoptic


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Convert what the command line names, and print a summary."""
    args = parse_args(argv)
    only = args.list and [line.strip() for line in read_text(args.list).splitlines() if line.strip()]
    inputs = [args.annotations, *(args.annotations / f'Segmentation{kind}' for kind in ('Object', 'Class'))]
    inputs += filter(None, [getattr(args, 'semantic', None)])
    if args.out.is_dir() and any(folder.is_dir() and folder.samefile(args.out) for folder in inputs):
        raise UserError(f'{args.out} is the folder of the annotations; choose another folder for --out.')
    check_folder(args.out)
    if args.config_out and args.config_out.suffix != '.py':
        raise UserError(f'{args.config_out} cannot become a config, whose name ends in .py; correct --config-out.')
    settings = {key: str(value) for key, value in sorted(vars(args).items()) if key not in ('jobs', 'config_out')}
    written = write_panoptic(
        read_format(args), args.images, args.out, args.name, only, args.jobs, settings, args.strict
    )
    for note in written.notes:
        print(f'warning: {note}', file=sys.stderr)
    if args.config_out:
        give_config(written, args.out, args.config_out)
    else:
        print(f'Next: python tools/train.py NAME --data {shlex.quote(str(args.out))} (docs/own_data.md)')
    print(
        f'{written.path}: {written.photos} photos, {written.segments} segments, {written.crowds} of them crowds; '
        f'{written.hidden} hidden completely and dropped, {written.broken} broken and left out'
    )


def read_format(args: argparse.Namespace) -> Format:
    """Return the annotations that the command line names."""
    classes = {'things': args.things, 'stuff': args.stuff, 'ignored': args.ignore, 'rest': args.rest}
    if args.format == 'labelme':
        return LabelmeFormat(args.annotations, args.images, **classes)
    if args.format == 'cityscapes-ids':
        suffixes = {'photo_suffix': args.photo_suffix, 'ids_suffix': args.ids_suffix}
        return InstanceIdFormat(
            args.annotations, args.images, void=args.void, divisor=args.divisor, **suffixes, **classes
        )
    if args.format == 'voc':
        folders = args.annotations / 'SegmentationObject', args.annotations / 'SegmentationClass'
        return VocFormat(args.images, *folders, void=args.void, **classes)
    if args.format == 'yolo':
        names = read_names(args.names)
        return YoloFormat(args.annotations, args.images, names, args.semantic, void=args.void, **classes)
    crowds = {'crowds_are_objects': args.crowds_are_objects}
    return CocoFormat(args.annotations, args.images, args.semantic, void=args.void, **crowds, **classes)


def read_names(names: list[str]) -> list[str]:
    """Return the class names as given, or those of a file."""
    is_file = len(names) == 1 and (
        names[0].lower().endswith(('.yaml', '.yml', '.txt', '.names')) or Path(names[0]).exists()
    )
    return read_yolo_names(names[0]) if is_file else check_names(names, '--names')


def give_config(written: Written, out: Path, path: Path) -> None:
    """Write the config."""
    train, val = (out / f'panoptic_{name}.json' for name in ('train', 'val'))
    train = train if train.is_file() else written.path
    if not val.is_file():
        print(f'{val} does not exist yet: the config measures on the training photos')
        val = train
    write_atomic(path, own_config(path, train, val))
    print(f'{path}: a config; check the classes, then: python tools/analysis_tools/browse_dataset.py {path}')


if __name__ == '__main__':
    main()
