"""Configs by name: a model's name is the stem of its config file."""

import os
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..errors import MissingFileError, UserError, did_you_mean
from .building import settings_of
from .model_file import is_model_file, read_model_config

PACKAGE = Path(__file__).resolve().parents[1]


def config_root() -> Path:
    """Return the folder of the configs: inside the package when installed from a wheel, else that of the checkout.

    Raises:
        FileNotFoundError: Neither exists.
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
    """Return the sorted names of the OneFormers with a config; ablations can be found by name but are not listed."""
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
        containing = [known for known in configs if stem.lower() in known]
        hint = did_you_mean(stem, containing or configs, count=3, likeness=0.0 if containing else 0.4)
        raise UserError(
            f'"{name}" is neither a config file nor the name of a model{hint}; tools/infer.py --list shows all names.'
        )
    if len(paths) > 1:
        raise UserError(f'Several configs are named "{name}": {", ".join(map(str, paths))}; give the path of one.')
    return paths[0]


def read_config(name: str | os.PathLike[str], options: dict[str, Any] | None = None) -> Config:
    """Read a config by path or by model name, or from a model's file, and merge ``options`` into it.

    Raises:
        UserError: There is no such config, it is broken, or an option does not fit.
    """
    path = find_config(name)
    cfg = read_model_config(path) if is_model_file(path) else _read_file(path)
    merge_options(cfg, options)
    return cfg


def merge_options(cfg: Config, options: dict[str, Any] | None) -> None:
    """Merge ``options``, values by dotted key, into ``cfg``.

    A new key is accepted, unless it is almost the same as an existing one: that is taken for a typing error, which
    would otherwise have no effect.

    Raises:
        UserError: An option does not fit the config, or is such an error.
    """
    if not isinstance(options, Mapping | None):
        raise UserError(f'options are a dict such as {{"train_cfg.max_iters": 4}}, not {options!r}.')
    for key, value in (options or {}).items():
        _check_key(cfg, key, value)
    try:
        cfg.merge_from_dict(options or {})
    except (KeyError, TypeError) as error:  # Of values that are dicts, which are merged too.
        raise UserError(f'the options do not fit {cfg.filename or "the config"}: {error.args[0]}') from error


def rename_config(cfg: Config, stem: str) -> Config:
    """Return a config under another name, which a runner gives to the copy that it writes into the work dir."""
    return Config(cfg.to_dict(), cfg_text=cfg.text or stem, filename=f'{stem}.py')


def require(cfg: Config, key: str) -> Any:
    """Return a setting of ``cfg`` by its dotted key.

    Raises:
        UserError: The config does not have it.
    """
    value: Any = cfg
    for part in key.split('.'):
        value = value.get(part) if isinstance(value, Mapping | Config) else None
        if value is None:
            raise UserError(f'the config has no "{key}", which this command needs; add it to {cfg.filename or "it"}.')
    return value


def _check_key(cfg: Config, key: str, new: Any) -> None:
    """Raise a UserError if an option has no effect, or a text for a number.

    It has none if its dotted key leads nowhere in ``cfg``, is new and almost the same as one beside it, or names a
    variable that the file has used already.
    """
    value: Any = cfg
    for part in key.split('.'):
        if isinstance(value, list | tuple):
            if not part.isdigit() or int(part) >= len(value):
                raise UserError(f'option {key}: "{part}" is not an index of a list of {len(value)}; count from 0.')
            value = value[int(part)]
        elif not isinstance(value, Mapping | Config):
            raise UserError(f'option {key}: "{part}" stands below {value!r}, which has no settings; leave it out.')
        elif part in value:
            value = value[part]
        else:
            if (hint := did_you_mean(part, value.keys(), likeness=0.9)) and part not in settings_of(value, key):
                raise UserError(f'the config has no {key}{hint}; a setting that it lacks belongs in its file.')
            return
    numbers = value if isinstance(value, list | tuple) else [value]
    if isinstance(new, str) and numbers and all(type(one) in (int, float) for one in numbers):
        kind = 'numbers' if isinstance(value, list | tuple) else 'the number'
        raise UserError(f'option {key}: the config has {kind} {value} there, not text such as {new!r}.')
    used = [path for path in _paths(cfg, '') if path.rpartition('.')[2] == key and path != key]
    if used and not isinstance(value, Mapping):
        raise UserError(
            f'{key} is a variable of the config file, which has been read already; set {" or ".join(used[:4])}.'
        )


def _paths(value: Any, path: str) -> Iterator[str]:
    """Yield the dotted keys of all settings of a config that are no dicts."""
    if isinstance(value, Mapping | Config):
        for key, part in value.items():
            yield from _paths(part, f'{path}.{key}'.lstrip('.'))
    elif isinstance(value, list | tuple) and any(isinstance(part, Mapping) for part in value):
        for index, part in enumerate(value):
            yield from _paths(part, f'{path}.{index}')
    else:
        yield path


def _read_file(path: Path) -> Config:
    """Read a file, which is Python code and may fail in any way."""
    try:
        return Config.fromfile(path)
    except Exception as error:
        places = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.name == '<module>']
        where = f'line {places[-1].lineno} of {places[-1].filename}: ' if places else ''
        remedy = 'correct it'
        if isinstance(error, SyntaxError):
            where, reason = f'line {error.lineno} of it or of one of its bases: ', error.msg
        else:
            # mmengine's own message about a failed import lists all of sys.path.
            reason = ' '.join(str(error.__cause__ if isinstance(error, ImportError) else error).split()).rstrip('.')
        if path.suffix not in ('.py', '.json', '.yaml', '.yml'):
            raise UserError(
                f'{path} is neither a config nor a model file; give the name of a model, or a config.'
            ) from error
        if isinstance(error, FileNotFoundError) and not places:
            remedy = 'a base is missing, docs/configs.md lists the parts to use'
        raise UserError(
            f'{path} cannot be read as a config ({where}{type(error).__name__}{reason and ": "}{reason}); {remedy}.'
        ) from error
