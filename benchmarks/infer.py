"""Inference: network and post-processing of one prediction and of all three, and where the time goes.

The network has random weights, the same on both sides if both are OneFormer. Random weights yield no segments, so
post-processing is timed on logits of the same shapes with --segments planted in them. Every prediction has the size of
the network's input. First the tool checks how closely both sides agree.

--against transformers: Hugging Face's port with our weights and its own post-processing, one pass for each task.
--against mask2former:  mmdet's Mask2Former with our backbone and our post-processing, one pass for all tasks.
--against fp32:         ours in fp32 and not compiled: the gain from --dtype and --compile.
"""

import argparse
import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn

from mmseg_oneformer.checkpoints.checkpoint import for_inference
from mmseg_oneformer.errors import UserError
from mmseg_oneformer.memory import keep_freed_memory
from mmseg_oneformer.models.precision import network_precision
from mmseg_oneformer.tasks import TASKS

from .measure import compare
from .models import Setting, add_model_arguments, build, number_format, read_model, settings
from .peers.hub import transformers_side
from .peers.mask2former import mask2former_side
from .planted import planted_logits
from .rows import Row, make_row
from .sides import Logits, Side, our_side, predict
from .stages import Part, no_part, split, write_trace
from .syncs import count_syncs, describe_syncs, warned_syncs

SAME = 0.02
"""Relative difference of fp32 logits above which two networks do not compute the same: an attention mask may flip where
a logit is nearly 0, and then a query attends to another pixel."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this subcommand."""
    add_model_arguments(parser, batch=1, segments=30)
    parser.add_argument('--against', choices=('transformers', 'mask2former', 'fp32'), help='measure this beside ours')
    parser.add_argument(
        '--task', choices=TASKS, default='panoptic', help='task of the row one-answer (default: %(default)s)'
    )


def run(args: argparse.Namespace) -> list[Row]:
    """Measure; returns rows 'one-answer', 'three-answers' and, without a peer, their parts.

    Raises:
        UserError: A setting is invalid, or both sides do not compute the same.
    """
    chosen = settings(args)
    if args.device == 'cpu':
        keep_freed_memory()
    return [row for ending, setting in chosen.items() for row in _measure(args, setting, ending)]


def _measure(args: argparse.Namespace, setting: Setting, ending: str) -> list[Row]:
    cfg = for_inference(read_model(args, setting))
    model = build(cfg.model).to(args.device).eval()
    images = torch.randn(setting.batch, 3, *setting.size, generator=torch.Generator().manual_seed(0)).to(args.device)
    planted = _plant(cfg, setting, args.device)
    peer = None if args.against is None else _PEERS[args.against](cfg, model, setting.size)
    if args.compile:
        model.compile_network()
    ours = our_side(model, setting.size)

    def bind(side: Side, dtype: str) -> Callable[..., list[object]]:
        def call(tasks: Sequence[str], part: Part = no_part) -> list[object]:
            with torch.inference_mode(), network_precision(torch.device(args.device), dtype):
                return predict(side, images, planted, tasks, part)

        return call

    our_call = bind(ours, args.dtype)
    peer_call = None if peer is None else bind(peer, 'fp32' if args.against == 'fp32' else args.dtype)
    if peer is not None and args.against != 'mask2former':
        with torch.inference_mode():
            print(agreement(ours, peer, images, planted, args.dtype))
    modules = _modules(model, args.compile)
    rows = []
    facts = {'device': args.device, 'dtype': number_format(args), 'size': setting.size_text}
    for name, tasks in (('one-answer', (args.task,)), ('three-answers', TASKS)):
        theirs = None if peer_call is None else partial(peer_call, tasks)
        measured = compare(partial(our_call, tasks), theirs, args.device, args.runs, args.warmup)
        rows.append(make_row(name + ending, measured, **facts, peer=args.against))
        speeds = {'ours': measured.ours, args.against: measured.peer}
        each = ', '.join(f'{side} {setting.batch / one.median:.3g}' for side, one in speeds.items() if one is not None)
        print(f'{name + ending}, images a second: {each}')
        if args.against is None and not ending:
            parts = split(partial(our_call, tasks), modules, args.device, args.runs)
            rows += [make_row(f'{name}/{part}', measured, **facts) for part, measured in parts.items()]
    if args.trace is not None:
        write_trace(partial(our_call, TASKS), modules, args.device, args.trace)
    if args.syncs:
        if args.device.startswith('cuda'):
            print(describe_syncs('three-answers, on this GPU', warned_syncs(partial(our_call, TASKS))))
        print(_syncs(model, ours, images, planted))
    return rows


def _syncs(model: Any, side: Side, images: Tensor, planted: Logits) -> str:
    def call() -> None:
        on_gpu = [tensor.cpu().to('cuda', non_blocking=True) for tensor in (images, *planted)]
        predict(side, on_gpu[0], Logits(*on_gpu[1:]), TASKS)

    return describe_syncs('three-answers', count_syncs(model, call))


def agreement(ours: Side, peer: Side, images: Tensor, planted: Logits, dtype: str) -> str:
    """Compare the logits of two OneFormers with the same weights, and their semantic predictions; return a sentence.

    Raises:
        UserError: They differ in fp32 by more than rounding explains.
    """
    with network_precision(images.device, dtype):
        pairs = [
            (mine, their)
            for my_tasks, their_tasks in zip(ours.network(images, TASKS), peer.network(images, TASKS))
            for my_logits, their_logits in zip(my_tasks, their_tasks)
            for mine, their in zip(my_logits, their_logits)
        ]
    worst = max(float((mine - their).abs().max() / their.abs().max()) for mine, their in pairs)
    if dtype == 'fp32' and worst > SAME:
        raise UserError(
            f'our logits differ from those of {peer.name} by {worst:.1e}; a ratio of times would be meaningless.'
        )
    mine, their = ours.predict('semantic', planted), peer.predict('semantic', planted)
    equal = (_classes(mine) == _classes(their)).float().mean()
    return (
        f'same weights: the logits of all tasks differ by {worst:.1e} of the largest at most, the semantic predictions '
        f'of planted logits agree on {100 * float(equal):.2f} % of the pixels'
    )


def _classes(prediction: object) -> Tensor:
    return prediction if isinstance(prediction, Tensor) else prediction.pred_sem_seg.sem_seg[0]  # type: ignore[attr-defined]


def _plant(cfg: Config, setting: Setting, device: str) -> Logits:
    head = cfg.model.head
    queries = head.get('num_queries', 150)
    if setting.segments > queries:
        raise UserError(f'--segments is {setting.segments}, but the model has {queries} queries; plant fewer.')
    size = setting.size[0] // 4, setting.size[1] // 4
    # The order of the classes does not matter, only how many of them are things.
    logits = planted_logits(size, queries, head.num_classes, len(cfg.model.thing_ids), setting.segments)
    return Logits(*(part.to(device) for part in logits))


def _modules(model: Any, is_compiled: bool) -> dict[str, nn.Module]:
    """Return the parts to time; compiled code is one part, since a hook inside it would break the graph."""
    if is_compiled:
        return {'backbone': model.backbone, 'head': model.head}
    return {
        'backbone': model.backbone,
        'pixel decoder': model.head.pixel_decoder,
        'query initialiser': model.head.query_initializer,
        'decoder': model.head.decoder,
    }


def _ours_in_fp32(cfg: Config, ours: Any, size: tuple[int, int]) -> Side:
    return our_side(copy.deepcopy(ours), size, 'ours in fp32')


_PEERS: dict[str, Callable[[Config, Any, tuple[int, int]], Side]] = {
    'transformers': transformers_side,
    'mask2former': mask2former_side,
    'fp32': _ours_in_fp32,
}
