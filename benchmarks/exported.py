"""An exported model against PyTorch: network only, one image, one task and all three.

The folder is one of tools/export.py; the image is noise of the folder's fixed size, or of --size.
"""

import argparse
from functools import partial

import numpy as np

from mmseg_oneformer.apis import OneFormerInferencer
from mmseg_oneformer.deploy.graph import example_inputs
from mmseg_oneformer.deploy.oneformer_numpy import OneFormer
from mmseg_oneformer.deploy.verify import network_runner
from mmseg_oneformer.tasks import TASKS

from .measure import compare
from .rows import Row, make_row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this subcommand."""
    parser.add_argument('folder', metavar='FOLDER', help='output of tools/export.py')
    parser.add_argument('--model', required=True, metavar='NAME_OR_CONFIG', help='the exported model')
    parser.add_argument('--weights', metavar='FILE', help='its exported weights (default: those of the name)')
    parser.add_argument(
        '--size', type=int, nargs=2, default=(512, 512), metavar=('H', 'W'), help='for a graph of any size (512 512)'
    )


def run(args: argparse.Namespace) -> list[Row]:
    """Measure; returns rows 'one-task' and 'three-tasks'.

    Raises:
        UserError: The model cannot be built.
    """
    exported = OneFormer(args.folder)
    infer = OneFormerInferencer(args.model, args.weights, args.device)
    height, width = exported.meta['fixed_size'] or args.size
    image = example_inputs((height, width), batch=1)[0].numpy()
    facts: dict[str, str] = {
        'device': str(args.device),
        'dtype': 'fp32',
        'size': f'{height}x{width}',
        'peer': 'PyTorch',
    }
    rows = []
    for name, count in (('one-task', 1), ('three-tasks', len(TASKS))):
        ours, theirs = (partial(run, image, np.arange(count)) for run in (exported.run, network_runner(infer)))
        measured = compare(ours, theirs, args.device, args.runs, args.warmup)
        rows.append(make_row(name, measured, **facts))
    return rows
