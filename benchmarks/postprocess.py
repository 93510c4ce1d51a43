"""Post-processing of one image: planted logits to predictions of the original size, against upsampling all masks first.

Without --size two settings are measured: 512 x 512 with 150 queries and classes, as on ADE20K, and 1024 x 2048 with 250
queries and 19 classes, as on Cityscapes. The peer is the plain form of the reference code. First the tool checks that
both give the same predictions.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from mmseg_oneformer.errors import UserError
from mmseg_oneformer.models.postprocess import ImageSize, instances, panoptic_segments, semantic_map
from mmseg_oneformer.tasks import TASKS

from .measure import compare
from .peers.plain_postprocess import plain_instances, plain_panoptic_segments, plain_semantic_map
from .planted import planted_logits
from .rows import Row, make_row

Predictions = dict[str, Callable[[], Any]]

SAME = 1e-5
"""Share of the pixels that may differ: where two scores are equal, rounding decides."""


class Work(NamedTuple):
    """The size of one setting."""

    size: tuple[int, int]
    queries: int
    classes: int
    things: int
    segments: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this subcommand."""
    parser.add_argument('--size', type=int, nargs=2, metavar=('H', 'W'), help='of the image, multiples of 4')
    parser.add_argument('--queries', type=int, default=150, help='with --size (default: %(default)s)')
    parser.add_argument('--classes', type=int, default=150, help='with --size (default: %(default)s)')
    parser.add_argument('--things', type=int, default=100, help='of the classes (default: %(default)s)')
    parser.add_argument('--segments', type=int, default=30, help='planted in each setting (default: %(default)s)')


def run(args: argparse.Namespace) -> list[Row]:
    """Measure; returns rows 'postprocess-semantic', '-instance', '-panoptic' and '-three', all of them.

    Raises:
        UserError: A setting is invalid, or both sides give different predictions.
    """
    return [row for work in _works(args) for row in _measure(work, args)]


def _works(args: argparse.Namespace) -> list[Work]:
    if args.size is None:
        return [
            Work((512, 512), 150, 150, 100, min(args.segments, 150)),
            Work((1024, 2048), 250, 19, 8, min(args.segments, 250)),
        ]
    height, width = args.size
    if min(args.size) < 4 or height % 4 or width % 4:
        raise UserError(f'--size {height} {width}: mask logits are a quarter of the image; give multiples of 4.')
    if not 0 <= args.things <= args.classes or min(args.queries, args.classes) < 1 or args.segments < 0:
        raise UserError('--queries and --classes must be at least 1, --things at most --classes; correct the numbers.')
    return [Work((height, width), args.queries, args.classes, args.things, min(args.segments, args.queries))]


def _measure(work: Work, args: argparse.Namespace) -> list[Row]:
    device = torch.device(args.device)
    low = work.size[0] // 4, work.size[1] // 4
    settings = (work.queries, work.classes, work.things, work.segments)
    logits = {}
    for seed, task in enumerate(TASKS):
        class_logits, mask_logits = planted_logits(low, *settings, seed=seed)
        logits[task] = class_logits.to(device), mask_logits.to(device)
    ours, plain = _ours(logits, work), _plain(logits, work)
    facts: dict[str, Any] = {
        'device': args.device,
        'dtype': 'fp32',
        'size': f'{work.size[0]}x{work.size[1]}, N={work.queries}, K={work.classes}',
        'peer': 'plain form',
    }
    rows = []
    with torch.inference_mode():
        for task in TASKS:
            check_same(ours[task](), plain[task]())
        print(f'{facts["size"]}: both give the same predictions, {work.segments} segments planted')
        for name, tasks in [(task, (task,)) for task in TASKS] + [('three', TASKS)]:
            measured = compare(_call(ours, tasks), _call(plain, tasks), device, args.runs, args.warmup)
            rows.append(make_row(f'postprocess-{name}', measured, **facts))
    return rows


def check_same(ours: Any, plain: Any) -> None:
    """Check that two predictions of the same logits are equal.

    Args:
        ours: Labels (H, W), instances, or a panoptic map and its segments.
        plain: The same from the plain form.

    Raises:
        UserError: They differ by more than rounding explains.
    """
    if isinstance(ours, Tensor):
        pairs = [(ours, plain)]
    elif isinstance(ours, InstanceData):
        scores = (ours.scores - plain.scores).abs().max() if len(ours) == len(plain) > 0 else 0
        if len(ours) != len(plain) or scores > 1e-5 or not torch.equal(ours.labels, plain.labels):
            raise UserError('Our instances are not those of the plain form; a ratio of times would be meaningless.')
        pairs = list(zip(ours.masks, plain.masks))
    else:
        if ours[1] != plain[1]:
            raise UserError('Our segments are not those of the plain form; a ratio of times would be meaningless.')
        pairs = [(ours[0], plain[0])]
    worst = max((float((mine != their).float().mean()) for mine, their in pairs), default=0)
    if worst > SAME:
        raise UserError(f'{worst:.1e} of the pixels differ from the plain form; a ratio of times is meaningless.')


def _call(predictions: Predictions, tasks: Sequence[str]) -> Callable[[], list[Any]]:
    return lambda: [predictions[task]() for task in tasks]


def _ours(logits: dict[str, tuple[Tensor, Tensor]], work: Work) -> Predictions:
    size = ImageSize(work.size, work.size, work.size)
    things = range(work.things)
    return {
        'semantic': lambda: semantic_map(*logits['semantic'], size),
        'instance': lambda: instances(*logits['instance'], size, things, work.queries),
        'panoptic': lambda: panoptic_segments(*logits['panoptic'], size, things, 0.8, 0.8),
    }


def _plain(logits: dict[str, tuple[Tensor, Tensor]], work: Work) -> Predictions:
    size = ImageSize(work.size, work.size, work.size)
    things = range(work.things)
    return {
        'semantic': lambda: plain_semantic_map(*logits['semantic'], size),
        'instance': lambda: plain_instances(*logits['instance'], size, things, work.queries),
        'panoptic': lambda: plain_panoptic_segments(*logits['panoptic'], size, things, 0.8, 0.8),
    }
