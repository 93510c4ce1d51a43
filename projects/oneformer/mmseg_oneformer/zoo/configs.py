"""Configs by name: a model's name is the stem of its config file."""

import difflib
import os
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..errors import MissingFileError, UserError
from .model_file import is_model_file, read_model_config

PACKAGE = Path(__file__).resolve().parents[1]


def config_root() -> Path:
    """Return the folder of the configs: inside the package when installed from a wheel, else that of the checkout.

    Raises:
        FileNotFoundError: Neither is there.
    """
    candidates = [PACKAGE / 'configs']
    if len(PACKAGE.parents) > 2:
        candidates.append(PACKAGE.parents[2] / 'configs')
    for folder in candidates:
        if (folder / '_base_').is_dir() or (folder / 'oneformer').is_dir():
            return folder
    raise MissingFileError(f'No configs at {" or ".join(map(str, candidates))}; reinstall mmseg_oneformer.')


def weights_root() -> Path:
    """Return the folder of the weights that are shipped with the package."""
    return PACKAGE / 'weights'


def _configs() -> dict[str, list[Path]]:
    """Return every config file by stem, without the parts in ``_base_``."""
    root = config_root()
    found: dict[str, list[Path]] = {}
    for path in sorted(root.rglob('*.py')):
        if '_base_' not in path.relative_to(root).parts:
            found.setdefault(path.stem, []).append(path)
    return found


def list_models() -> list[str]:
    """Return the names of the OneFormers there is a config for, sorted; ablations are found by name but not listed."""
    root = config_root() / 'oneformer'
    return sorted(
        name
        for name, paths in _configs().items()
        if any(path.is_relative_to(root) and not path.is_relative_to(root / 'ablations') for path in paths)
    )


def find_config(name: str | os.PathLike[str]) -> Path:
    """Return the config file for a model's name, or ``name`` itself if it is the path of a file.

    Raises:
        UserError: No config has this name; the message names the nearest ones.
    """
    if Path(name).is_file():
        return Path(name)
    configs = _configs()
    paths = configs.get(Path(name).stem if str(name).endswith('.py') else str(name), [])
    if os.sep in str(name) or not paths:
        stem = Path(name).stem
        close = difflib.get_close_matches(stem, configs, n=3, cutoff=0.4)
        close = close or [known for known in configs if stem.lower() in known][:3]
        hint = f'did you mean {" or ".join(close)}?' if close else 'tools/infer.py --list shows all names.'
        raise UserError(f'"{name}" is neither a config file nor the name of a model; {hint}')
    if len(paths) > 1:
        raise UserError(f'Several configs are named "{name}": {", ".join(map(str, paths))}; give the path of one.')
    return paths[0]


def read_config(name: str | os.PathLike[str], options: dict[str, Any] | None = None) -> Config:
    """Read a config by path or by model name, or out of a model's file, and merge ``options`` into it.

    Raises:
        UserError: There is no such config, it is broken, or an option does not fit.
    """
    path = find_config(name)
    try:
        cfg = None if is_model_file(path) else Config.fromfile(path)
    except FileNotFoundError as error:  # one of its bases
        raise UserError(
            f'{path} cannot be read as a config: {error}; docs/configs.md lists the parts to use.'
        ) from error
    except Exception as error:  # A config is Python: anything may go wrong in it.
        raise UserError(f'{path} cannot be read as a config: {type(error).__name__}: {error}') from error
    if cfg is None:
        cfg = read_model_config(path)
    merge_options(cfg, options)
    return cfg


def merge_options(cfg: Config, options: dict[str, Any] | None) -> None:
    """Merge ``options``, values by dotted key, into ``cfg``.

    Raises:
        UserError: An option does not fit.
    """
    try:
        cfg.merge_from_dict(options or {})
    except (KeyError, TypeError, IndexError, AttributeError, AssertionError) as error:
        raise UserError(f'--cfg-options do not fit {cfg.filename or "the config"}: {error}') from error


def rename_config(cfg: Config, stem: str) -> Config:
    """Return a config under another name, by which a runner calls the copy that it writes into the work dir."""
    return Config(cfg.to_dict(), cfg_text=cfg.text or stem, filename=f'{stem}.py')
