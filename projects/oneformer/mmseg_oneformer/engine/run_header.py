"""A summary of a run in a dozen lines: model, data, schedule, device, files."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.model import is_model_wrapper
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.runner import EpochBasedTrainLoop

from ..checkpoints.checkpoint import TRAINING_ONLY
from ..datasets.base import SegmentationDataset
from ..datasets.mixed import MixedDataset
from ..datasets.panoptic import PanopticDataset
from ..models.fine_tuning import is_fine_tuning
from .optim import CpuAmpOptimWrapper

Facts = dict[str, str]
"""Descriptions by topic."""

MOST_NAMES = 12
"""If there are more classes than this, they are counted and not named."""


def training_facts(runner: Any) -> Facts:
    """Return what is known about a training when its loops are built."""
    loop, loader = runner.train_loop, runner.train_loop.dataloader
    batch = (getattr(loader, 'batch_size', None) or loader.batch_sampler.batch_size) * get_world_size()
    val = runner.val_loop
    unit = 'epochs' if isinstance(loop, EpochBasedTrainLoop) else 'iterations'
    passes = runner.max_iters * batch / len(loader.dataset)
    return {
        'model': _model(runner),
        'classes': _classes(getattr(loader.dataset, 'metainfo', {})),
        'training': f'{_photos(loader.dataset)}, {batch} an iteration',
        'input': _input(loader.dataset),
        'validation': f'{_photos(val.dataloader.dataset)}, {_validated(loop, unit)}' if val else 'none',
        'no score': _absent(val.dataloader.dataset) if val else '',
        'schedule': f'{runner.max_iters} iterations ({passes:.3g} passes), {_optimizer(runner)}, seed {runner.seed}',
        'device': f'{_device()}, {_precision(runner)}',
        'work dir': short_path(runner.work_dir),
        'log file': f'{short_path(Path(runner.log_dir) / runner.timestamp)}.log',
    }


def test_facts(runner: Any) -> Facts:
    """Return what is known about a test when its loop is built."""
    dataset = runner.test_loop.dataloader.dataset
    return {
        'model': _model(runner),
        'classes': _classes(getattr(dataset, 'metainfo', {})),
        'data': _photos(dataset),
        'device': _device(),
        'log file': f'{short_path(Path(runner.log_dir) / runner.timestamp)}.log',
    }


def _validated(loop: Any, unit: str) -> str:
    last = loop.max_epochs if unit == 'epochs' else loop.max_iters
    return (
        f'every {loop.val_interval} {unit}'.replace('every 1 iterations', 'every iteration')
        if loop.val_interval < last
        else 'at the end'
    )


def _absent(dataset: Any) -> str:
    """Return which classes no validation photo has."""
    if not isinstance(dataset, PanopticDataset):
        return ''
    infos = (dataset.get_data_info(index) for index in range(len(dataset)))
    present = {segment['label'] for info in infos for segment in info.get('segments_info', ())}
    missing = [name for label, name in enumerate(dataset.metainfo['classes']) if label not in present]
    if not present or not missing:
        return ''
    named = ', '.join(missing) if len(missing) <= MOST_NAMES else f'{len(missing)} classes'
    return f'{named}: in no validation photo'


def describe_start(runner: Any) -> str:
    """Return where the weights come from with which a training is about to begin."""
    if runner.iter:
        return f'iteration {runner.iter}{f" of {short_path(runner._load_from)}" if runner._load_from else ""}'
    if runner._load_from:
        return str(runner._load_from)
    model = runner.cfg.get('model') or {}
    if is_fine_tuning(model.get('init_cfg')):
        return f'{model["init_cfg"]["checkpoint"]} (fine-tuning)'
    init_cfg = (model.get('backbone') or {}).get('init_cfg')
    weights = init_cfg.get('checkpoint') if isinstance(init_cfg, Mapping) else None
    return f'the backbone {weights}, the rest random' if weights else 'random weights'


def format_facts(facts: Facts) -> str:
    """Return one line per fact."""
    return '\n'.join(f'  {name:<12}{text}' for name, text in facts.items() if text)


def _model(runner: Any) -> str:
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    total = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    backbone = (runner.cfg.get('model') or {}).get('backbone') or {}
    kind = str(backbone.get('type', '')).rpartition('.')[2].removesuffix('Backbone')
    name = f'{kind}-{backbone["depth"]}' if kind and 'depth' in backbone else kind
    parts = [type(model).__name__, *([name] if name else []), f'{_count(total)} parameters']
    only = sum(part.numel() for key, part in model.named_parameters() if key.startswith(TRAINING_ONLY))
    if only:
        parts.append(f'{_count(total - only)} of them at inference')
    if runner._train_loop is not None and trained != total:
        parts.append(f'{_count(trained)} of them trained')
    return ', '.join(parts)


def _count(number: int) -> str:
    return f'{number / 1e6:.1f} M' if number >= 1e5 else str(number)


def _classes(meta: Mapping[str, Any]) -> str:
    names: Sequence[str] = meta.get('classes') or ()
    things = [name for number, name in enumerate(names) if number in meta.get('thing_ids', ())]
    stuff = [name for name in names if name not in things]
    named = len(names) <= MOST_NAMES
    groups = [
        f'{len(group)} {kind}' + (f' ({", ".join(group)})' if named else '')
        for kind, group in (('things', things), ('stuff', stuff))
        if group
    ]
    return ', '.join(groups)


def _input(dataset: Any) -> str:
    """Return the size of the first sample, as the network gets it; empty for data sets of other libraries."""
    if not isinstance(dataset, SegmentationDataset | MixedDataset):
        return ''
    # By its key, which draws from none of the run's random generators.
    height, width = dataset[0, 0]['inputs'].shape[-2:]
    return f'{width}x{height} pixels (the first photo, after augmentation)'


def _photos(dataset: Any) -> str:
    source = getattr(dataset, 'ann_file', '')
    every = getattr(dataset, 'hold_out', None)
    part = '' if every is None else ', held out: every ' if dataset.test_mode else ', without every '
    suffix = part and f'{part}{every}th'
    return f'{len(dataset)} photos{f" of {short_path(source)}" if source else ""}{suffix}'


def _optimizer(runner: Any) -> str:
    wrapper = runner.optim_wrapper
    if not isinstance(wrapper, OptimWrapper):  # several optimisers
        return type(wrapper).__name__
    # The rate before any warm-up: schedulers have lowered `lr` by now.
    rate = max(group.get('initial_lr', group['lr']) for group in wrapper.param_groups)
    return f'{type(wrapper.optimizer).__name__}, learning rate {rate:g}'


def _precision(runner: Any) -> str:
    wrapper = runner.optim_wrapper
    if isinstance(wrapper, CpuAmpOptimWrapper):
        return 'mixed precision (bfloat16)'
    if isinstance(wrapper, AmpOptimWrapper):
        return f'mixed precision ({str(wrapper.cast_dtype or "float16").removeprefix("torch.")})'
    return 'float32'


def _device() -> str:
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU'
    processes = get_world_size()
    threads = torch.get_num_threads()
    shared = f'{processes} processes x ' if processes > 1 else ''
    return f'{name}, {shared}{threads} thread{"s" * (threads > 1)}'


def short_path(path: str | os.PathLike[str]) -> str:
    """Return a path relative to the current folder if it lies below it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith('..') else relative
