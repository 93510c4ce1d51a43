"""Changed settings of a resumed run: they are reported, applied or rejected, and never ignored.

mmengine loads whatever happens to fit, and the checkpoint's settings take precedence over the config's. Here:

* Changes that make it a different run are rejected: another model, other classes, another optimiser or schedule.
* The optimiser's settings are those of the config. A changed learning rate restarts its schedule and advances it to the
  current iteration, so that the rates are those of a run that had the new one from the beginning.
* Changes of the samples (batch size, number of processes, photos) are reported.
"""

import copy
import logging
import warnings
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from mmengine.dist import get_world_size
from mmengine.hooks import EMAHook, Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper

from ..checkpoints.checkpoint import check_fit
from ..console import say
from ..errors import UserError

__all__ = ['CheckResume', 'check_optimizer', 'check_schedule', 'describe_changes', 'run_facts']

RUNNING = {'base_values', 'last_step', '_global_step', '_last_value', 'verbose', 'best', 'num_bad_epochs'}
RUNNING |= {'cooldown_counter'}
"""The part of a scheduler's state that changes while it runs; the rest are settings."""

KERNELS = {'params', 'fused', 'foreach', 'capturable', 'differentiable'}
"""Keys of a parameter group that do not affect how the weights change; the checkpoint's are kept."""

KINDS = {'betas', 'momentum', 'alpha', 'rho', 'lr_decay', 'lambd', 'etas', 'amsgrad', 'nesterov', 'centered'}
"""Keys of a parameter group that the state of its optimiser depends on."""

START_ANEW = 'or start a new run from its weights with --cfg-options load_from=CHECKPOINT'


class CheckResume(Hook):
    """Compares a run with the checkpoint that it resumes from, both before and after anything is loaded."""

    priority = 'VERY_HIGH'  # before EMAHook, which loads averaged weights

    def __init__(self) -> None:
        self._configured: list[dict[str, Any]] | None = None

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Record what a resumed run is compared with."""
        checkpoint['meta']['run'] = run_facts(runner)

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Raise an error if the run cannot resume from the checkpoint, and report what differs.

        Raises:
            UserError: The checkpoint has no optimiser state; or its model, classes, optimiser or schedule differ; or it
                has averaged weights and this run does not average.
        """
        if not runner._resume:
            return
        path, meta = runner._load_from, checkpoint.get('meta') or {}
        if 'optimizer' not in checkpoint or 'message_hub' not in checkpoint or 'iter' not in meta:
            raise UserError(
                f'{path} holds weights and no state of a training, as the best checkpoints and published ones do; '
                f'resume from an iter_*.pth, {START_ANEW}.'
            )
        if 'ema_state_dict' in checkpoint and not any(isinstance(hook, EMAHook) for hook in runner.hooks):
            raise UserError(
                f'{path} is of a run with EMAHook, whose averaged weights cannot be trained on from '
                'there; resume with EMAHook in custom_hooks, or start from them with --cfg-options '
                'load_from=CHECKPOINT.'
            )
        states = checkpoint.get('param_schedulers') or []
        if isinstance(runner.param_schedulers, Sequence) and isinstance(states, list):
            check_schedule([scheduler.state_dict() for scheduler in runner.param_schedulers], states)
        elif bool(runner.param_schedulers) != bool(states):
            check_schedule([{}] * bool(runner.param_schedulers), [{}] * bool(states))
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        check_fit(model.state_dict(), checkpoint['state_dict'], path)
        _check_classes(path, meta, runner)
        facts = run_facts(runner)
        if isinstance(runner.optim_wrapper, OptimWrapper):
            groups = runner.optim_wrapper.optimizer.param_groups
            check_optimizer(groups, checkpoint['optimizer'].get('param_groups', []), facts, meta.get('run') or {})
            self._configured = [_settings(group) for group in runner.optim_wrapper.param_groups]
        if changes := describe_changes(facts, meta.get('run') or {}):
            print_log(f'{changes}; the run continues with other samples.', 'current', level=logging.WARNING)

    def before_train(self, runner: Any) -> None:
        """Give the optimiser the config's settings if they differ from the checkpoint's."""
        if self._configured is None:
            return
        changed: dict[str, str] = {}
        for group, configured in zip(runner.optim_wrapper.param_groups, self._configured):
            loaded = _settings(group)
            for key, value in configured.items():
                if loaded.get(key) != value:
                    changed.setdefault(key, f'{key} {value} instead of {loaded.get(key)}')
        if not changed:
            return
        _apply(runner, self._configured, set(changed))
        say(f'The optimiser continues with {", ".join(changed.values())}, as the config says.')


def run_facts(runner: Any) -> dict[str, Any]:
    """Return what an iteration's samples and the optimiser's state depend on, as plain values."""
    loader = runner.train_loop.dataloader
    batch = getattr(loader, 'batch_size', None) or getattr(loader.batch_sampler, 'batch_size', 0)
    return {
        'images per iteration': batch * get_world_size(),
        'processes': get_world_size(),
        'training photos': len(loader.dataset),
        'optimizer': type(getattr(runner.optim_wrapper, 'optimizer', runner.optim_wrapper)).__name__,
    }


def describe_changes(now: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """Return which numbers of samples differ, as the beginning of a sentence; '' if none do."""
    numbers = ('images per iteration', 'processes', 'training photos')
    changes = [f'{now[key]} {key} instead of {before[key]}' for key in numbers if before.get(key, now[key]) != now[key]]
    return f'This run has {", ".join(changes)} in the checkpoint' if changes else ''


def check_optimizer(
    groups: Sequence[Mapping[str, Any]],
    saved: Sequence[Mapping[str, Any]],
    now: Mapping[str, Any],
    before: Mapping[str, Any],
) -> None:
    """Raise a UserError if the state of an optimiser does not belong to the one that the config describes.

    Args:
        groups: The optimiser's parameter groups.
        saved: Those of the checkpoint.
        now: Facts of this run.
        before: Facts of the checkpoint's run; older checkpoints have none.
    """
    kind = before.get('optimizer', now['optimizer'])
    flags = ('amsgrad', 'nesterov', 'centered')
    same = kind == now['optimizer'] and all(
        KINDS & one.keys() == KINDS & other.keys() and all(one.get(flag) == other.get(flag) for flag in flags)
        for one, other in zip(groups, saved)
    )
    if not same:
        raise UserError(
            f'The checkpoint is of another optimiser ({kind}) than the config ({now["optimizer"]}); resume with the '
            f'settings of the old run, {START_ANEW}.'
        )
    counts = [[len(group['params']) for group in one] for one in (groups, saved)]
    if counts[0] != counts[1]:
        raise UserError(
            f'The optimiser has groups of {counts[0]} parameters and that of the checkpoint had {counts[1]}; resume '
            f'with the same frozen layers and paramwise_cfg, {START_ANEW}.'
        )


def check_schedule(schedulers: Sequence[Mapping[str, Any]], saved: Sequence[Mapping[str, Any]]) -> None:
    """Raise a UserError if a schedule of the config is not that of a checkpoint.

    A resumed run would keep the old one: if it was meant to train for longer, it would continue at the last learning
    rate, often 0.

    Args:
        schedulers: The states of the schedulers that the config describes.
        saved: The states in the checkpoint.
    """
    remedy = (
        'and a resumed run keeps the old one; start a new run from these weights with --cfg-options '
        'load_from=CHECKPOINT, or resume with the config of the old run.'
    )
    if len(schedulers) != len(saved):
        raise UserError(
            f'The checkpoint has {len(saved)} schedulers and param_scheduler of the config {len(schedulers)}, {remedy}'
        )
    for number, (one, other) in enumerate(zip(schedulers, saved)):
        if one.get('end') != other.get('end'):
            raise UserError(
                f'The schedule in the checkpoint ends at iteration {other.get("end")}, that of the config at '
                f'{one.get("end")}, {remedy}'
            )
        differing = [key for key in sorted((one.keys() | other.keys()) - RUNNING) if one.get(key) != other.get(key)]
        if differing:
            key = differing[0]
            raise UserError(
                f'param_scheduler.{number} has {key} {one.get(key)} in the config and {other.get(key)} in the '
                f'checkpoint, {remedy}'
            )


def _check_classes(path: Any, meta: Mapping[str, Any], runner: Any) -> None:
    before = (meta.get('dataset_meta') or {}).get('classes')
    now = getattr(runner.train_loop.dataloader.dataset, 'metainfo', {}).get('classes')
    if before is None or now is None or list(before) == list(now):
        return
    one, other = next(pair for pair in zip_longest(before, now) if pair[0] != pair[1])
    raise UserError(
        f'{path} was trained with other classes than the data have ({one}, not {other}); start from it with '
        '--fine-tune-from, which goes by their names.'
    )


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a parameter group as in the config, before any schedule."""
    keys = [key for key in group if key not in KERNELS and not key.startswith('initial_')]
    values = {key: group.get(f'initial_{key}', group[key]) for key in keys}
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def _apply(runner: Any, settings: Sequence[Mapping[str, Any]], keys: set[str]) -> None:
    """Set ``keys`` of all parameter groups, and replay their schedules from the beginning to the current iteration."""
    groups = runner.optim_wrapper.param_groups
    scheduled = [key for key in keys if f'initial_{key}' in groups[0]]
    for group, values in zip(groups, settings):
        for key in keys:
            group[key] = values[key]
            if key in scheduled:
                group[f'initial_{key}'] = values[key]
    if not scheduled:
        return
    places = [place for place, old in enumerate(runner.param_schedulers) if old.param_name in scheduled]
    if any(getattr(runner.param_schedulers[place], 'need_val_args', False) for place in places):
        raise UserError(
            'A learning rate that follows from validations (ReduceOnPlateau) cannot be changed on resuming; resume '
            f'with the old one, {START_ANEW}.'
        )
    configs = runner.cfg.param_scheduler
    configs = [configs] if isinstance(configs, Mapping) else configs
    rebuilt = {place: runner.build_param_scheduler([copy.deepcopy(configs[place])])[0] for place in places}
    with warnings.catch_warnings():  # The optimiser makes no step in the meantime.
        warnings.simplefilter('ignore', UserWarning)
        for _ in range(max(runner.param_schedulers[place]._global_step for place in places)):
            for place, scheduler in rebuilt.items():
                if scheduler._global_step < runner.param_schedulers[place]._global_step:
                    scheduler.step()
    for place, scheduler in rebuilt.items():
        runner.param_schedulers[place] = scheduler
