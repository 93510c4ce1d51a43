"""A config for own data: the contents of a panoptic JSON replace the settings of the config.

Decisions:
* Whatever depends on the data is replaced: classes, files, metrics, and the length of the training with all settings
  that count iterations. Network, augmentation and optimiser stay as they are.
* Paths become absolute, so that the config can be run again from anywhere.
* Without photos to validate on, every fifth one is held out from training. A number in the config (``hold_out``) is
  enough: no file is written, and the same photos are held out in every run.
"""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from ..checkpoints.checkpoint import read_checkpoint
from ..datasets.own_data import OwnData, find_own_data
from ..errors import MissingFileError, UserError
from ..files import user_path
from ..models.fine_tuning import CLASS_HEADS
from ..preparation.recognition import conversion_command
from ..tasks import TASKS
from ..zoo.configs import rename_config

__all__ = ['check_classes', 'use_data']

HELD_OUT = 5
"""One photo in this many is used for validation if no others are given."""
MAX_ITERS = 10_000
"""Iterations on own data, unless the config trains for fewer or the user sets another number."""
VALIDATIONS = 10
"""Per training."""
LEAST_INTERVAL = 50
"""Iterations between validations: in a short training they would take most of the time."""
METRICS = {'panoptic': 'PanopticQuality', 'instance': 'InstanceAP', 'semantic': 'MeanIoU'}

DataPath = str | os.PathLike[str]


def use_data(cfg: Config, data: DataPath, val: DataPath | None, options: Mapping[str, Any]) -> Config:
    """Return a config that trains and measures ``cfg``'s model on other data.

    Args:
        cfg: A config with a panoptic data set's pipelines; changed in place.
        data: A panoptic JSON with its photos and PNGs beside it; or a folder with one, or with one for training and
            one for validation.
        val: The same, to validate and measure on; None: the validation data in ``data``, else every fifth photo.
        options: What will override the config; its ``train_cfg.max_iters`` is the length of the training.

    Returns:
        ``cfg`` under the name ``<config>_<data>``, without its work dir.

    Raises:
        FileNotFoundError: There is no such file or folder.
        UserError: The data are not a panoptic data set, the two have different classes, or the model is not one of
            ours.
    """
    if '' in (data, val):
        raise UserError('The path of the data is empty; give a panoptic JSON, or a folder (. is this one).')
    train = _files(Path(data), 'train')
    held_out = _files(Path(data) if val is None else Path(val), 'val')
    if train.metainfo['classes'] != held_out.metainfo['classes']:
        raise UserError(f'{train.json} and {held_out.json} have different classes; convert both with the same classes.')
    _set_classes(cfg, train)
    hold_out = HELD_OUT if val is None and held_out == train else None
    if hold_out and train.num_photos < 2:
        raise UserError(f'{train.json} has one photo, so none can be held out to validate on; give val.')
    for name, files in (('train', train), ('val', held_out), ('test', held_out)):
        loader = cfg.get(f'{name}_dataloader')
        if loader is not None:
            loader.dataset = _dataset(loader.dataset, files, hold_out, name)
    tasks = (cfg.model.get('test_cfg') or {}).get('tasks') or TASKS
    cfg.val_evaluator = cfg.test_evaluator = [ConfigDict(type=METRICS[task]) for task in METRICS if task in tasks]
    if 'max_iters' in (cfg.get('train_cfg') or {}):
        length = options.get('train_cfg.max_iters', min(cfg.train_cfg.max_iters, MAX_ITERS))
        if not isinstance(length, int) or length < 1:
            raise UserError(f'train_cfg.max_iters is {length!r}, not a number of iterations; give 1 or more.')
        _set_length(cfg, length)
    cfg.pop('work_dir', None)
    return rename_config(cfg, f'{Path(cfg.filename or "config").stem}_{_name_of(Path(data))}')


def check_classes(weights: str | os.PathLike[str], cfg: Config) -> None:
    """Raise a UserError if weights have other classes than the data of a config that :func:`use_data` made."""
    content = read_checkpoint(weights)
    head = content['state_dict'].get(f'{CLASS_HEADS[0]}weight')
    dataset = cfg.test_dataloader.dataset
    ours, theirs = list(dataset.metainfo.classes), (content['meta'].get('dataset_meta') or {}).get('classes')
    count = len(ours) if head is None else len(head) - 1
    if count != len(ours) or (theirs is not None and list(theirs) != ours):
        raise UserError(
            f'{weights} is of {count} classes{_some(theirs)} and {dataset.ann_file} has {len(ours)}{_some(ours)}; '
            'train on these data first, with fine_tune_from these weights.'
        )


def _some(names: Sequence[str] | None) -> str:
    return f' ({", ".join(names[:3])}{", ..." if len(names) > 3 else ""})' if names else ''


def _files(data: Path, split: str) -> OwnData:
    """Find the files of a split; annotations in another format get the command that converts them."""
    data = user_path(data)
    if not data.exists():
        raise MissingFileError(f'{data} does not exist; give a panoptic JSON, or the folder of a data set.')
    try:
        return find_own_data(data, split)
    except UserError as error:
        # A folder with a panoptic JSON has other faults, and often another tool's JSON beside it.
        command = conversion_command(data) if data.is_file() or isinstance(error, MissingFileError) else None
        if command is None:
            raise
        raise UserError(
            f'{data} has no panoptic annotations yet; convert it with: {command} (move classes that cannot be counted '
            'from --things to --stuff; docs/own_data.md).'
        ) from error


def _set_classes(cfg: Config, files: OwnData) -> None:
    """Give the model the classes of the data."""
    if cfg.model.type not in ('OneFormer', 'Mask2FormerBaseline'):
        raise UserError(f'data is for OneFormer, not for {cfg.model.type}; write a config for it (docs/own_data.md).')
    owner = cfg.model.head if cfg.model.type == 'OneFormer' else cfg.model
    owner.num_classes, cfg.model.thing_ids = len(files.metainfo['classes']), files.metainfo['thing_ids']
    if 'classes' in (cfg.model.get('init_cfg') or {}):
        cfg.model.init_cfg.classes = files.metainfo['classes']


def _dataset(given: ConfigDict, files: OwnData, hold_out: int | None, split: str) -> ConfigDict:
    """Return the config of a data set with the pipeline of the ``given`` one."""
    if given.get('pipeline') is None:
        raise UserError(f'{split}_dataloader.dataset has no pipeline to take over; name another config.')
    return ConfigDict(
        type='PanopticDataset',
        ann_file=str(files.json),
        data_prefix={'img': str(files.photos), 'seg': str(files.maps)},
        metainfo=files.metainfo,
        hold_out=hold_out,
        test_mode=split != 'train',
        pipeline=given.pipeline,
    )


def _set_length(cfg: Config, max_iters: int) -> None:
    """Train for ``max_iters``: settings that count iterations keep their share of the whole."""
    ratio = max_iters / cfg.train_cfg.max_iters

    def scaled(iteration: int) -> int:
        return math.ceil(iteration * ratio)

    schedulers = cfg.get('param_scheduler') or []
    for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
        if scheduler.get('by_epoch', True):
            continue
        if 'milestones' in scheduler:
            scheduler.milestones = [scaled(one) for one in scheduler.milestones]
        begin = scaled(scheduler.get('begin', 0))
        # A warm-up of a single iteration would never reach the full rate.
        end = max(scaled(scheduler.get('end', cfg.train_cfg.max_iters)), begin + 2)
        scheduler.update(begin=begin, end=end)
    interval = min(max(max_iters // VALIDATIONS, LEAST_INTERVAL), max_iters)
    cfg.train_cfg.update(max_iters=max_iters, val_interval=interval)
    if (cfg.get('default_hooks') or {}).get('checkpoint') is not None:
        cfg.default_hooks.checkpoint.interval = interval


def _name_of(data: Path) -> str:
    """Return the name of a data set: that of its folder."""
    data = user_path(data).absolute()
    folder = data if data.is_dir() else data.parent
    return (folder.parent if folder.name == 'annotations' else folder).name
