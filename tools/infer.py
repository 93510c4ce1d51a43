"""Predict for photos and videos: label maps, COCO files, pictures, annotated videos.

python tools/infer.py photo.jpg --model NAME_OR_CONFIG --out-dir out
python tools/infer.py photos/ 'more/**/*.png' --model CONFIG --weights F.pth --tasks panoptic --out-dir out
python tools/infer.py clip.mp4 --model NAME --tasks panoptic --out-dir out          # out/clip_panoptic.mp4
python tools/infer.py --camera 0 --model NAME --tasks panoptic --out-dir out        # until Ctrl-C
python tools/infer.py photos/ --model NAME --export labelme geojson --out-dir out   # out/labelme_panoptic/...
python tools/infer.py --list                               # all models, with published scores and location of weights

Published weights of a NAME are downloaded at first use.

An interrupted run continues with --resume. Exit status: 0 for success, 1 if photos could not be read or are too large
for the memory (the others are processed), 2 for an invalid command line.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from mmseg_oneformer.command_line import (
    Parser,
    add_model_arguments,
    add_tasks_argument,
    add_token_argument,
    cli_errors,
    loading,
)
from mmseg_oneformer.errors import UserError
from mmseg_oneformer.evaluation.zoo_tables import format_zoo, markdown_zoo
from mmseg_oneformer.files import check_folder
from mmseg_oneformer.zoo.weights import cache_root, weights_states

EXPORTS = ('labelme', 'geojson')


class _List(argparse.Action):
    """Prints all models and ends the tool, as ``--help`` does."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, flag: str | None = None
    ) -> None:
        """Print the list in the chosen format."""
        text = f'{format_zoo(weights_states())}\nDownloaded weights are kept in {cache_root()}.\n'
        print(markdown_zoo() if values == 'markdown' else text, end='')
        parser.exit()


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Raises:
        UserError: Something is missing.
    """
    parser = Parser(description='Predict for photos and videos in all three tasks.')
    parser.add_argument('inputs', nargs='*', metavar='INPUT', help='photos, folders of photos, videos, glob patterns')
    parser.add_argument('--camera', type=int, metavar='NUMBER', help='index of a camera, from 0; Ctrl-C stops it')
    parser.add_argument(
        '--max-frames', type=int, metavar='N', help='frames of each video and of the camera (default: all)'
    )
    parser.add_argument('--allow-urls', action='store_true', help='allow http(s) URLs of photos as INPUT')
    parser.add_argument(
        '--allow-private-urls', action='store_true', help='also allow those of this machine and of private networks'
    )
    parser.add_argument('--model', metavar='NAME_OR_CONFIG', help='name of a model, or a config file')
    add_model_arguments(parser)
    add_tasks_argument(parser)
    add_token_argument(parser)
    parser.add_argument(
        '--batch-size',
        type=int,
        default=1,
        help='photos at a time; more than 1 pads the smaller ones (default: %(default)s)',
    )
    parser.add_argument('--out-dir', metavar='FOLDER', help='folder for the predictions')
    parser.add_argument('--resume', action='store_true', help='continue an interrupted run in --out-dir')
    parser.add_argument(
        '--export',
        nargs='+',
        metavar='FORM',
        choices=EXPORTS,
        default=(),
        help=f'also write {" and ".join(EXPORTS)}, one file per image, in folders <FORM>_<TASK>',
    )
    parser.add_argument(
        '--list',
        action=_List,
        nargs='?',
        const='text',
        choices=['text', 'markdown'],
        help='list all models and exit; markdown: the tables of docs/zoo.md',
    )
    args = parser.parse_args(argv)
    args.inputs += [] if args.camera is None else [args.camera]
    needed = ((args.inputs, 'INPUT'), (args.model, '--model'), (args.out_dir, '--out-dir'))
    if missing := [what for value, what in needed if not value]:
        raise UserError(f'{", ".join(missing)} missing; see tools/infer.py --help, or --list for the names of models.')
    check_folder(args.out_dir)
    return args


with loading(__name__, parse_args):
    import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

    from tqdm import tqdm

    from mmseg_oneformer.apis import Source
    from mmseg_oneformer.command_line.model import load_model


@cli_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Predict for the photos of the command line; returns the exit status."""
    args = parse_args(argv)
    broken: list[str] = []

    def note(source: Source, reason: str) -> None:
        broken.append(source.file_name)
        tqdm.write(f'skipped: {reason}', file=sys.stderr)

    infer = load_model(args)
    # A model predicts only its own classes, whatever the photo shows.
    print(f'The model knows {infer.known_classes}.')
    results = infer.stream(
        args.inputs,
        args.tasks,
        args.token,
        batch_size=args.batch_size,
        out_dir=args.out_dir,
        resume=args.resume,
        on_broken=note,
        allow_urls=args.allow_urls,
        allow_private_urls=args.allow_private_urls,
        max_frames=args.max_frames,
    )
    predicted, last = 0, None
    try:
        with closing(results):
            for result in results:
                predicted, last = predicted + 1, repr(result) if predicted == 0 else None
                for form in args.export:
                    result.export(form, args.out_dir)
    except KeyboardInterrupt:
        if args.camera is None:
            raise
    if predicted == 1:
        print(last)
    if predicted:
        print(f'{_images(predicted)} predicted ({", ".join(args.tasks)}); the files are in {args.out_dir}')
    elif args.resume and not broken:
        print(f'Nothing was left to do; the files are in {args.out_dir}')
    if broken:
        print(f'{_images(len(broken))} could not be used: {", ".join(broken)}', file=sys.stderr)
    return 1 if broken else 0


def _images(count: int) -> str:
    return '1 image' if count == 1 else f'{count} images'


if __name__ == '__main__':
    sys.exit(main())
