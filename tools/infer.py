"""Answer photos: label maps, COCO files and pictures.

python tools/infer.py photo.jpg --model NAME_OR_CONFIG --out-dir answers
python tools/infer.py photos/ more/photo.png --model CONFIG --weights F.pth --tasks panoptic --out-dir answers
python tools/infer.py --list                               # all models: published scores, and where the weights are

Published weights of a NAME are downloaded when it is used first.

Exit status: 0 if all went well, 1 if a photo could not be read (the others are answered), 2 for a wrong command.
"""

import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

import argparse
import sys
from collections.abc import Sequence

import torch
from mmengine.config import DictAction
from tqdm import tqdm

from mmseg_oneformer.apis import OneFormerInferencer, Source
from mmseg_oneformer.apis.weights import cache_root, weights_states
from mmseg_oneformer.apis.zoo import format_zoo, markdown_zoo
from mmseg_oneformer.engine.cli import add_speed_arguments, cli_errors
from mmseg_oneformer.engine.memory import keep_freed_memory
from mmseg_oneformer.tasks import TASKS, check_tasks


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Answer photos in all three tasks.')
    parser.add_argument('inputs', nargs='*', metavar='INPUT', help='photos and folders of photos')
    parser.add_argument('--model', metavar='NAME_OR_CONFIG', help='name of a model, or a config file')
    parser.add_argument('--weights', metavar='FILE', help='a checkpoint, or its https address (default: by the name)')
    parser.add_argument('--tasks', nargs='+', metavar='TASK', default=TASKS, help=f'which of {", ".join(TASKS)}')
    parser.add_argument('--token', metavar='TASK', help="make all answers from this task's token")
    parser.add_argument('--batch-size', type=int, default=1, help='photos at a time; more than 1 pads smaller ones')
    parser.add_argument('--device', help='such as cpu or cuda:1 (default: a GPU if there is one)')
    add_speed_arguments(parser)
    parser.add_argument('--out-dir', metavar='FOLDER', help='where the answers are written')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='override the config')
    parser.add_argument(
        '--list',
        nargs='?',
        const='text',
        choices=['text', 'markdown'],
        help='print all models and stop; markdown: the tables of docs/zoo.md',
    )
    return parser.parse_args(argv)


@cli_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Answer the photos of the command line; returns the exit status."""
    args = parse_args(argv)
    if args.list == 'markdown':
        print(markdown_zoo(), end='')
        return 0
    if args.list:
        print(format_zoo(weights_states()))
        print(f'Downloaded weights are kept in {cache_root()}.')
        return 0
    for value, what in ((args.inputs, 'INPUT'), (args.model, '--model'), (args.out_dir, '--out-dir')):
        if not value:
            raise ValueError(f'{what} is missing; see tools/infer.py --help, or --list for the names of models.')
    tasks = check_tasks(args.tasks)
    broken: list[str] = []

    def note(source: Source, reason: str) -> None:
        broken.append(source.file_name)
        tqdm.write(f'skipped: {reason}', file=sys.stderr)

    if not torch.cuda.is_available():
        keep_freed_memory()
    infer = OneFormerInferencer(
        args.model, args.weights, args.device, args.cfg_options, dtype=args.dtype, compile=args.compile
    )
    answers = infer.stream(
        args.inputs, tasks, args.token, args.batch_size, progress=True, out_dir=args.out_dir, on_broken=note
    )
    answered = sum(1 for _ in answers)
    if answered:
        print(f'{answered} images answered ({", ".join(tasks)}); the files are in {args.out_dir}')
    if broken:
        print(f'{len(broken)} images could not be read: {", ".join(broken)}', file=sys.stderr)
    return 1 if broken else 0


if __name__ == '__main__':
    sys.exit(main())
