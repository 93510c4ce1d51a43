"""The model that is measured, and the setting in which it is measured."""

import argparse
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope

from mmseg_oneformer.command_line import add_options_argument
from mmseg_oneformer.datasets.metainfo import metainfo_of
from mmseg_oneformer.errors import UserError
from mmseg_oneformer.models.precision import DTYPES, check_dtype
from mmseg_oneformer.zoo.configs import read_config

from .scaling import parse_over

DEFAULT_MODEL = 'oneformer_swin-t_8xb2-160k_ade20k-512x512'


@dataclass(frozen=True)
class Setting:
    """How large the work is."""

    size: tuple[int, int]
    """Height and width of the network's input."""
    batch: int
    segments: int
    """Segments in each image."""
    queries: int | None = None
    """Number of queries, if not the config's."""

    def at(self, quantity: str, value: int) -> 'Setting':
        """Return the setting with another size, batch, number of segments or of queries."""
        changes: dict[str, Any] = {quantity: (value, value) if quantity == 'size' else value}
        return replace(self, **changes)

    @property
    def size_text(self) -> str:
        """Size in the format of rows."""
        return f'{self.size[0]}x{self.size[1]}' + (f', batch {self.batch}' if self.batch > 1 else '')


def add_model_arguments(parser: argparse.ArgumentParser, batch: int, segments: int) -> None:
    """Add what inference and training share."""
    parser.add_argument(
        '--model', default=DEFAULT_MODEL, metavar='NAME_OR_CONFIG', help='our model (default: %(default)s)'
    )
    add_options_argument(parser)
    parser.add_argument(
        '--size', type=int, nargs='+', default=[512], metavar='PIXELS', help='H W, or one side (default: 512)'
    )
    parser.add_argument('--batch', type=int, default=batch, help='images at a time (default: %(default)s)')
    parser.add_argument('--segments', type=int, default=segments, help='in each image (default: %(default)s)')
    parser.add_argument('--dtype', choices=DTYPES, default='fp32', help='fp32 (default), or autocast on both sides')
    parser.add_argument('--compile', action='store_true', help='torch.compile our backbone and head')
    parser.add_argument(
        '--over',
        type=parse_over,
        metavar='NAME=VALUE,...',
        help='measure once for each value of size (one side), queries, segments or batch, and fit an exponent',
    )
    parser.add_argument('--trace', metavar='FILE', help='write a trace of one more run of ours (.json or .json.gz)')
    parser.add_argument(
        '--syncs', action='store_true', help='list where ours waits for a GPU, on one and on a pretended one'
    )


def settings(args: argparse.Namespace) -> dict[str, Setting]:
    """Return the settings to measure by the suffix of their rows' names: only '', or '@queries=50' and so on.

    Raises:
        UserError: A number is invalid.
    """
    if len(args.size) > 2:
        raise UserError(f'--size has {len(args.size)} numbers; give a height and a width, or one side.')
    for name in ('size', 'batch', 'segments'):
        value = getattr(args, name)
        if (min(value) if name == 'size' else value) < 1:
            raise UserError(f'--{name} is {value}; give 1 or more.')
    if any(side % 32 for side in args.size):
        raise UserError(f'--size is {args.size}; give multiples of 32, the largest stride of the network.')
    check_dtype(args.dtype, args.device)
    setting = Setting((args.size[0], args.size[-1]), args.batch, args.segments)
    if args.over is not None and (args.trace is not None or args.syncs):
        raise UserError('--trace and --syncs are for a single setting; leave out --over.')
    if args.over is None:
        return {'': setting}
    quantity, values = args.over
    return {f'@{quantity}={value}': setting.at(quantity, value) for value in values}


def read_model(args: argparse.Namespace, setting: Setting) -> Config:
    """Return the config of the model in a setting; it starts from random weights.

    Raises:
        UserError: There is no such model, or it is not a OneFormer.
    """
    cfg = read_config(args.model, args.cfg_options)
    if cfg.get('model', {}).get('type') != 'OneFormer':
        raise UserError(f'{args.model} is not a OneFormer; give --model the name or config of one.')
    if setting.queries is not None:
        cfg.model.head.num_queries = setting.queries
    cfg.model.backbone.init_cfg = None
    cfg.model.pop('init_cfg', None)
    return cfg


def build(model: Mapping[str, Any]) -> Any:
    """Build ``model`` of a config with random weights, the same each time."""
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        built = revert_sync_batchnorm(MODELS.build(model))
    logging.disable(logging.WARNING)  # mmengine logs how every single parameter was initialised.
    try:
        built.init_weights()
    finally:
        logging.disable(logging.NOTSET)
    return built


def number_format(args: argparse.Namespace) -> str:
    """Return the number format in the format of rows."""
    return args.dtype + (' compiled' if args.compile else '')


def class_names(cfg: Config) -> list[str]:
    """Return the names of the classes of ``cfg``'s data set."""
    names = list(metainfo_of(cfg.test_dataloader.dataset)['classes'])
    number = cfg.model.head.num_classes
    return names if len(names) == number else [f'class {label}' for label in range(number)]
