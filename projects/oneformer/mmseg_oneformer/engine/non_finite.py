"""NaN and infinity in training: found before they are saved, and stored with the batch so that it can be replayed.

Decisions:
* Everything to be saved is checked before each save: weights, averaged weights, the optimiser's state. Every checkpoint
  that exists is therefore a good one.
* A loss may be finite while its gradient is not; then the *next* loss is NaN. So the last two batches are stored.
* A stored batch consists of tensors and plain values, which are read without executing code from the file.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.hooks import EMAHook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from torch import nn

from ..checkpoints.checkpoint import load_weights
from ..checkpoints.files import first_non_finite
from ..errors import UserError
from ..files import atomic_path
from ..safe.load import safe_load
from ..zoo.building import build_part
from ..zoo.weights import missing_checkpoint
from .loops import seed_iteration

__all__ = ['check_finite', 'replay', 'stop_at']

ELEMENTS = {kind.__name__: kind for kind in (DetDataSample, InstanceData, PixelData)}
"""What a sample is made of, besides tensors and plain values."""

FEW = 4
"""Maximum number of photos or parameters that are named; the rest are counted."""


def check_finite(runner: Any) -> None:
    """Raise a UserError if what a checkpoint of ``runner`` would hold is not finite."""
    name = first_non_finite(_state(runner))
    if name is not None:
        stop_at(runner, f'{name} is not finite', len(_recent(runner)) and _recent(runner)[-1][0] + 1)


def stop_at(runner: Any, what: str, iteration: int) -> NoReturn:
    """End a training whose numbers are no longer finite, and store its last batches.

    Args:
        runner: The Runner.
        what: What is not finite, and its value.
        iteration: Counted from 1.

    Raises:
        UserError: Always; names the last good checkpoint, the photos, and how to continue.
    """
    hub = getattr(runner, 'message_hub', None)
    good = hub.runtime_info.get('last_ckpt') if hub is not None else None
    if good is None and getattr(runner, '_resume', False):
        good = runner._load_from
    recent = _recent(runner)
    sentence = f'{what} at iteration {iteration}'
    if recent:
        file = _store(runner, recent, good)
        photos = [path for _, batch in recent[-1:] for path in _photos(batch)]
        sentence += f' (photos {_some(photos)})' if photos else ''
        config = (runner.cfg.filename and f'{runner.work_dir}/{Path(runner.cfg.filename).name}') or 'CONFIG'
        sentence += f'; tools/train.py {config} --replay {file} shows where it begins'
    if good is None:
        raise UserError(f'{sentence}; no checkpoint was saved before: start with a lower learning rate.')
    raise UserError(
        f'{sentence}; resume from {good}, the last good checkpoint in {runner.work_dir}, with a lower learning rate '
        '(--resume --cfg-options optim_wrapper.optimizer.lr=...), or without --amp.'
    )


def replay(cfg: Config, file: str | os.PathLike[str]) -> list[str]:
    """Compute the losses and gradients of stored batches again, with the weights of the last good checkpoint.

    Args:
        cfg: The config of the run.
        file: What :func:`stop_at` stored.

    Returns:
        Sentences: which losses and which gradients are not finite.

    Raises:
        FileNotFoundError: There is no such file, or not the checkpoint that it names.
        UserError: It is not such a file, or belongs to another model.
    """
    path = Path(file)
    if not path.is_file():
        raise missing_checkpoint(path)
    content = safe_load(path)
    if not isinstance(content, dict) or 'batches' not in content:
        raise UserError(f'{path} is not a stored batch; give the batch_iter_*.pt that the message of the run names.')
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        torch.manual_seed(content['seed'])
        model: Any = build_part(MODELS, cfg.model)
        model.init_weights()
    checkpoint = content['checkpoint']
    if checkpoint is not None:
        # A work dir that was copied has its own copy.
        found = next((p for p in (path.parent / Path(checkpoint).name, Path(checkpoint)) if p.is_file()), None)
        if found is None:
            raise missing_checkpoint(Path(checkpoint))
        load_weights(model, found)
    model.to('cuda' if torch.cuda.is_available() else 'cpu').train()
    lines = [f'Weights: {checkpoint or "those at the beginning of a run, since none were saved"}.']
    for iteration, batch in content['batches']:
        batch = _unpack(batch)
        seed_iteration(content['seed'], content['rank'], iteration)
        lines.append(f'Iteration {iteration + 1}: {_some(_photos(batch)) or "a batch without photos"}.')
        lines += _replay_one(model, cfg, batch)
    return lines


def _replay_one(model: nn.Module, cfg: Config, batch: Any) -> Iterator[str]:
    model.zero_grad()
    with _precision(cfg):
        data: Any = model.data_preprocessor(batch, True)  # type: ignore[operator]
        losses = model(**data, mode='loss') if isinstance(data, Mapping) else model(*data, mode='loss')
        loss, terms = model.parse_losses(losses)  # type: ignore[operator]
    broken = [f'{name} is {float(term)}' for name, term in terms.items() if first_non_finite([(name, term)])]
    loss.backward()
    gradients = [name for name, value in model.named_parameters() if first_non_finite([(name, value.grad)])]
    yield f'  {len(terms)} losses, {"all finite" if not broken else f"{len(broken)} are not finite:"}'
    yield from (f'    {line}' for line in broken)
    yield f'  gradients of {_some(gradients)} are not finite' if gradients else '  gradients: all finite'


def _precision(cfg: Config) -> Any:
    """Return the autocast context of the config's mixed precision."""
    kind = cfg.optim_wrapper.get('type', 'OptimWrapper')
    if kind == 'CpuAmpOptimWrapper':
        return torch.autocast('cpu', torch.bfloat16)
    half = getattr(torch, str(cfg.optim_wrapper.get('dtype', 'float16')))
    return torch.autocast('cuda', half, enabled=kind == 'AmpOptimWrapper' and torch.cuda.is_available())


def _state(runner: Any) -> Iterator[tuple[str, Any]]:
    """Yield names and tensors of everything that a checkpoint holds."""
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    yield from model.named_parameters()
    yield from model.named_buffers()
    for hook in runner.hooks:
        if isinstance(hook, EMAHook) and hasattr(hook, 'ema_model'):
            yield from ((f'averaged {name}', value) for name, value in hook.ema_model.module.named_parameters())
    if isinstance(runner.optim_wrapper, OptimWrapper):
        names = {parameter: name for name, parameter in model.named_parameters()}
        for parameter, state in runner.optim_wrapper.optimizer.state.items():
            yield from ((f'{key} of {names.get(parameter, "a parameter")}', value) for key, value in state.items())


def _recent(runner: Any) -> Sequence[tuple[int, Any]]:
    """Return the last batches with the iterations, from 0, that used them; loops other than ours keep none."""
    return list(getattr(getattr(runner, 'train_loop', None), 'recent_batches', ()))


def _store(runner: Any, batches: Sequence[tuple[int, Any]], checkpoint: str | None) -> Path:
    file = Path(runner.work_dir) / f'batch_iter_{batches[-1][0] + 1}_rank_{get_rank()}.pt'
    content = {
        'seed': runner.seed,
        'rank': get_rank(),
        'checkpoint': checkpoint,
        'batches': [(iteration, _pack(batch)) for iteration, batch in batches],
    }
    with atomic_path(file) as temporary:
        torch.save(content, temporary)
    return file


def _pack(value: Any) -> Any:
    """Return data elements as dicts, including everything inside them."""
    if isinstance(value, BaseDataElement):
        return {
            'element': type(value).__name__,
            'metainfo': _pack(dict(value.metainfo_items())),
            'data': _pack(dict(value.items())),
        }
    if isinstance(value, Mapping):
        return {key: _pack(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        packed = [_pack(one) for one in value]
        return packed if isinstance(value, list) else tuple(packed)
    return value


def _unpack(value: Any) -> Any:
    """Return what :func:`_pack` was given."""
    if isinstance(value, list | tuple):
        return type(value)([_unpack(one) for one in value])
    if not isinstance(value, dict):
        return value
    unpacked = {key: _unpack(one) for key, one in value.items()}
    if unpacked.keys() != {'element', 'metainfo', 'data'}:
        return unpacked
    if unpacked['element'] not in ELEMENTS:
        raise UserError(f'A sample of type {unpacked["element"]} cannot be replayed; {", ".join(ELEMENTS)} can.')
    element = ELEMENTS[unpacked['element']](metainfo=unpacked['metainfo'])
    for key, one in unpacked['data'].items():
        setattr(element, key, one)
    return element


def _photos(batch: Any) -> list[str]:
    samples = batch.get('data_samples', ()) if isinstance(batch, Mapping) else ()
    return [str(sample.img_path) for sample in samples if 'img_path' in sample]


def _some(names: Sequence[str]) -> str:
    return ', '.join(names[:FEW]) + (f' and {len(names) - FEW} more' if len(names) > FEW else '')
