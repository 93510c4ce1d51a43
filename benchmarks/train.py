"""Training: one step from a loaded batch to updated weights, and where the time goes.

A step is preprocessing, losses, backward pass and optimiser as in mmengine's loop, on --batch drawn images with
--segments segments each, under the panoptic task, with the text branch. Weights are random. On a CPU the process keeps
freed memory, as with tools/train.py; both sides benefit from that.

--against mask2former:  mmdet's Mask2Former with our backbone, on the same images and targets, with the same optimiser.
                        It has neither a task token, nor a query initialiser, nor texts.
--against transformers: Hugging Face's port with our weights, on the same images, targets and texts.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from mmseg_oneformer.memory import keep_freed_memory
from mmseg_oneformer.models.precision import network_precision

from .measure import compare, process_peak
from .models import Setting, add_model_arguments, build, number_format, read_model, settings
from .peers.hub import transformers_trainee
from .peers.mask2former import mask2former_trainee
from .rows import Row, make_row
from .stages import no_part, split, write_trace
from .steps import Trainee, train_step, trainee
from .syncs import count_syncs, describe_syncs, warned_syncs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this subcommand."""
    add_model_arguments(parser, batch=2, segments=15)
    parser.add_argument('--against', choices=_PEERS, help='measure this beside ours')


def run(args: argparse.Namespace) -> list[Row]:
    """Measure; returns the row 'train-step' and, without a peer, its parts.

    Raises:
        UserError: A setting is invalid.
    """
    chosen = settings(args)
    if args.device == 'cpu':
        keep_freed_memory()
    return [row for ending, setting in chosen.items() for row in _measure(args, setting, ending)]


def _measure(args: argparse.Namespace, setting: Setting, ending: str) -> list[Row]:
    cfg = read_model(args, setting)
    model = build(cfg.model).to(args.device).train()
    peer = None if args.against is None else _PEERS[args.against](cfg, model, setting, args.device)
    if args.compile:
        model.compile_network()
    context = partial(network_precision, torch.device(args.device), args.dtype)
    step = partial(train_step, trainee(model, cfg, setting, args.device), context)
    theirs = None if peer is None else partial(train_step, peer, context)
    measured = compare(step, theirs, args.device, args.runs, args.warmup)
    if peer is None and measured.ours.peak_mb is not None and args.device == 'cpu':
        print(f'the whole process with model and optimiser: {process_peak():.0f} MB at its peak')
    facts = {'device': args.device, 'dtype': number_format(args), 'size': setting.size_text}
    rows = [make_row(f'train-step{ending}', measured, **facts, peer=args.against)]
    if peer is None and not ending:
        parts = split(step, _modules(model), args.device, args.runs)
        rows += [make_row(f'train-step/{part}', measured, **facts) for part, measured in parts.items()]
    if args.trace is not None:
        write_trace(step, _modules(model), args.device, args.trace)
    if args.syncs:
        if args.device.startswith('cuda'):
            print(describe_syncs('train-step, on this GPU', warned_syncs(step)))
        on_cpu = trainee(model, cfg, setting, 'cpu')
        print(describe_syncs('train-step, to the loss', count_syncs(model, lambda: on_cpu.loss(no_part))))
    return rows


def _modules(model: Any) -> dict[str, nn.Module]:
    found = {'backbone': model.backbone, 'head': model.head, 'texts': model.text_mapper, 'losses': model.criterion}
    return {name: module for name, module in found.items() if module is not None}


_PEERS: dict[str, Callable[[Config, Any, Setting, str], Trainee]] = {
    'mask2former': mask2former_trainee,
    'transformers': transformers_trainee,
}
