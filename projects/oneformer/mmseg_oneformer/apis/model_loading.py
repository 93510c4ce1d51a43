"""What an inferencer is made of: device, config, network, and the names of the classes."""

import os
from numbers import Integral
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS

from ..datasets.metainfo import check_class_names, metainfo_of
from ..errors import UserError
from ..zoo.building import build_part
from ..zoo.configs import merge_options, read_config, require

__all__ = ['build_model', 'choose_device', 'dataset_meta_of', 'model_config', 'model_name']


def model_name(model: str | os.PathLike[str] | Config) -> str:
    """Return the name of a model in messages."""
    return str(model.filename or 'this config') if isinstance(model, Config) else str(model)


def choose_device(device: str | torch.device | None) -> torch.device:
    """Return the device, or raise a ValueError if it does not exist."""
    try:
        chosen = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0].rstrip('.')
        reason = 'there is no such kind' if 'Expected one of' in reason else reason
        raise UserError(
            f'Device {device} cannot be used ({reason}); choose cpu, or cuda where there is a GPU.'
        ) from error
    return chosen


def model_config(model: str | os.PathLike[str] | Config, options: dict[str, Any] | None) -> Config:
    """Return a config with ``options`` merged into it; a config passed in is not changed."""
    if not isinstance(model, Config):
        return read_config(model, options)
    cfg = model.copy()
    merge_options(cfg, options)
    return cfg


def build_model(cfg: Config) -> Any:
    """Return the OneFormer of a config, for one process.

    Raises:
        UserError: If there is no such network, or not enough memory for it: a config may be a file from anywhere.
    """
    try:
        model = revert_sync_batchnorm(build_part(MODELS, require(cfg, 'model')))
    except (RuntimeError, MemoryError) as error:
        reason = (str(error).strip() or 'too large').splitlines()[0].rstrip('.')
        raise UserError(f'The model of {model_name(cfg)} cannot be built ({reason}); correct its config.') from error
    if not hasattr(model, 'predict_logits'):
        raise UserError(
            f'{model_name(cfg)} is a {cfg.model.type}, and only a OneFormer predicts here; measure it by tools/test.py.'
        )
    return model


def dataset_meta_of(cfg: Config, meta: dict[str, Any], model: Any) -> dict[str, Any]:
    """Return classes, thing ids and palette: the checkpoint's own, else those of the config's test data set.

    Raises:
        UserError: If neither names the classes, there are more or fewer than the model has, or their description is
            invalid.
    """
    stored = meta.get('dataset_meta') or {}
    if not isinstance(stored, dict):
        raise UserError(f'The dataset_meta of the weights is a {type(stored).__name__}, not a dict; write them again.')
    found = {key.lower(): value for key, value in stored.items()}
    if 'classes' not in found and 'type' in (cfg.get('test_dataloader') or {}).get('dataset', {}):
        found = metainfo_of(cfg.test_dataloader.dataset)
    if 'classes' not in found:
        raise UserError("Neither the weights nor the config name the classes; add metainfo to the config's data set.")
    if not isinstance(found['classes'], list | tuple):
        raise UserError('The classes are not a list; correct dataset_meta of the weights, or metainfo of the config.')
    if len(found['classes']) != model.head.num_classes:
        raise UserError(
            f'The weights name {len(found["classes"])} classes and the model has {model.head.num_classes}; '
            'give config and weights of one model.'
        )
    _check_names(found)
    return {**found, 'classes': tuple(found['classes']), 'thing_ids': tuple(model.thing_ids)}


def _check_names(meta: dict[str, Any]) -> None:
    """Raise a ValueError if names, colours or numbers of the classes, which come from files, are invalid."""
    classes, palette, numbers = meta['classes'], meta.get('palette') or (), meta.get('category_ids')
    if not all(isinstance(name, str) for name in classes):
        raise UserError('The classes are not names; correct dataset_meta of the weights, or metainfo of the config.')
    check_class_names(classes, 'dataset_meta of the weights, or metainfo of the config')
    colors = () if isinstance(palette, str) else palette  # mmdet's metas may say 'random'
    if colors and (len(colors) < len(classes) or not all(_is_color(one) for one in colors)):
        raise UserError(f'The palette is not {len(classes)} colours of three numbers; correct or remove it.')
    if numbers is not None and (len(numbers) < len(classes) or not all(isinstance(one, Integral) for one in numbers)):
        raise UserError(f'The category_ids are not {len(classes)} whole numbers; correct or remove them.')


def _is_color(value: Any) -> bool:
    if not isinstance(value, list | tuple) or len(value) != 3:
        return False
    return all(isinstance(part, Integral) and 0 <= int(part) <= 255 for part in value)
