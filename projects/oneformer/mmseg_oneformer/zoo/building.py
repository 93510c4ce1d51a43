"""Building the parts of a config; a mistake in the config becomes a UserError, and a bug keeps its traceback.

Decisions:
* Python and the registries raise the same errors for a misspelt config and for a bug in the code. Only after an error
  is the config compared with the signatures of what it names. If it differs, and the error names the difference, the
  config is at fault; any other error is raised unchanged.
* Errors of the libraries' classes about their own settings, which take many forms, count as mistakes in the config too.
"""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from mmengine import registry as registries
from mmengine.config import Config
from mmengine.registry import DefaultScope, Registry

from ..errors import MissingPackageError, UserError, did_you_mean
from ..startup import MODULE_OF

__all__ = ['build_part', 'explain_mistakes', 'settings_of']

LIBRARIES = ('mmcv', 'mmdet', 'mmengine', 'mmpretrain', 'mmseg')

ERRORS = (AssertionError, AttributeError, KeyError, TypeError, ValueError)
"""What a constructor raises for settings that it does not expect."""

PLAIN: dict[Any, Any] = {bool: bool, dict: dict, float: int | float, int: int, str: str, NoneType: NoneType}
"""Types of signatures that are compared, with the types of values that fit."""

LOOPS = {
    'training': ('train_dataloader', 'train_cfg', 'optim_wrapper'),
    'validation': ('val_dataloader', 'val_cfg', 'val_evaluator'),
    'testing': ('test_dataloader', 'test_cfg', 'test_evaluator'),
}
"""Settings of a config of which a Runner takes all or none."""

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
DICTS = (*LOADERS, 'visualizer', 'default_hooks', 'env_cfg', 'randomness')
"""Settings of a config that are dicts or None."""

LOADER = ('batch_size', 'num_workers', 'prefetch_factor', 'persistent_workers', 'multiprocessing_context', 'pin_memory')
"""Settings of torch's DataLoader, listed so that it need not be imported."""

BUILDERS_OWN = {'type', '_scope_', 'priority', 'convert_to_iter_based', 'constructor', 'paramwise_cfg'}
"""Settings that the libraries take out of a part before they build it."""

REGISTRIES = {
    **dict.fromkeys(('dataset', 'datasets', 'sources'), registries.DATASETS),
    **dict.fromkeys(('pipeline', 'transforms', 'resize', 'crop'), registries.TRANSFORMS),
    **dict.fromkeys(('sampler', 'batch_sampler'), registries.DATA_SAMPLERS),
    **dict.fromkeys(('val_evaluator', 'test_evaluator'), registries.METRICS),
    **dict.fromkeys(('train_cfg', 'val_cfg', 'test_cfg'), registries.LOOPS),
    **dict.fromkeys(('default_hooks', 'custom_hooks'), registries.HOOKS),
    'collate_fn': registries.FUNCTIONS,
    'log_processor': registries.LOG_PROCESSORS,
    'model': registries.MODELS,
    'model_wrapper_cfg': registries.MODEL_WRAPPERS,
    'optim_wrapper': registries.OPTIM_WRAPPERS,
    'optimizer': registries.OPTIMIZERS,
    'param_scheduler': registries.PARAM_SCHEDULERS,
    'visualizer': registries.VISUALIZERS,
    'vis_backends': registries.VISBACKENDS,
}
"""Where the ``type`` of a part is looked up, by the nearest key above it."""


def build_part(registry: Registry, config: Mapping[str, Any]) -> Any:
    """Build a part of a model, a data set or a pipeline, as ``registry.build`` does.

    Raises:
        UserError: Its ``type`` is unknown; or a setting is unknown, of a wrong type, or missing; or it is a class of
            the libraries and rejects its settings.
    """
    try:
        return registry.build(config)
    except UserError:
        raise
    except ERRORS as error:
        for find in (_named_mistake, _wrong_type, _rejected_by_library) if isinstance(config, Mapping) else ():
            if mistake := find(registry, config, error):
                raise UserError(f'{mistake}; correct this part of the config.') from error
        raise


@contextmanager
def explain_mistakes(cfg: Config) -> Iterator[None]:
    """Wrap code that itself builds the parts of ``cfg``, such as mmengine's Runner.

    Raises:
        UserError: It failed, and the config is wrong as for :func:`build_part`, or lacks a part of a loop; or a package
            that a part needs is not installed.
    """
    try:
        yield
    except UserError:
        raise
    except ImportError as error:
        if error.name is not None:  # Python's own error, not a library's message about a package that it needs.
            raise
        raise MissingPackageError(f'{_text(error).rstrip(".")}.') from error
    except ERRORS as error:
        for key in DICTS:
            if not isinstance(value := cfg.get(key), Mapping | None):
                raise UserError(f'the setting "{key}" of the config is {value!r}, not a dict; correct it.') from error
        for name, keys in LOOPS.items():
            missing = [key for key in keys if cfg.get(key) is None]
            if 0 < len(missing) < len(keys):
                raise UserError(f'the config has no "{missing[0]}", which {name} needs.') from error
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
            parts = list(_parts(cfg.to_dict(), '', None))
            for find in (_named_mistake, _wrong_type):
                for path, registry, part in parts:
                    if mistake := find(registry, part, error):
                        raise UserError(f'{path}: {mistake}; correct this part of the config.') from error
        for key in LOADERS:
            if mistake := _rejected_by_loader(cfg.get(key) or {}, error):
                raise UserError(f'{key}: {mistake}; correct this part of the config.') from error
        raise


def settings_of(config: Any, key: str) -> Iterable[str]:
    """Return the names of the settings that a part of a config may have; none if it has no known ``type``.

    Args:
        config: The part.
        key: Dotted key of the part.
    """
    registry = next((REGISTRIES[part] for part in reversed(key.split('.')) if part in REGISTRIES), None)
    kind = _resolve(registry, config.get('type')) if registry and isinstance(config, Mapping) else None
    return () if kind is None else _settings(kind)


def _parts(value: Any, path: str, registry: Registry | None) -> Iterator[tuple[str, Registry, Mapping[str, Any]]]:
    """Yield path, registry and settings of each part that has a ``type``, the inner ones first."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _parts(part, f'{path}.{key}'.lstrip('.'), REGISTRIES.get(key, registry))
        if registry is not None and 'type' in value:
            yield path, registry, value
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from _parts(part, f'{path}.{index}', registry)


def _named_mistake(registry: Registry, config: Mapping[str, Any], error: Exception) -> str | None:
    """Return which ``type`` or setting of a part is wrong, if ``error`` names it."""
    name, text = config.get('type'), _text(error)
    kind = _resolve(registry, name)
    if kind is None:
        known = isinstance(name, str) and name in text
        hint = did_you_mean(str(name), _names(registry)) if known else ''
        hint = hint or ' (name the module of a class of your own in custom_imports)'
        return f'there is no {registry.name} "{name}"{hint}' if known else None
    settings = _settings(kind)
    for key in config:
        if key not in settings and key not in BUILDERS_OWN and f"'{key}'" in text:
            hint = did_you_mean(key, settings) or f' (it has {", ".join(settings)})'
            return f'{_called(kind, name)} has no setting "{key}"{hint}'
    for key, setting in settings.items():
        if key not in config and setting.default is setting.empty and f"'{key}'" in text:
            return f'{_called(kind, name)} needs the setting "{key}"'
    return None


def _wrong_type(registry: Registry, config: Mapping[str, Any], error: Exception) -> str | None:
    """Return which setting of a part is not of the type in its signature, as far as that type is in ``PLAIN``."""
    kind = _resolve(registry, config.get('type'))
    for key, setting in ({} if kind is None else _settings(kind)).items():
        union = get_origin(setting.annotation) in (Union, UnionType)
        types = get_args(setting.annotation) if union else (setting.annotation,)
        fitting = tuple(PLAIN.get(one, object) for one in types)
        if key in config and not isinstance(config[key], fitting):
            names = ' or '.join('None' if one is NoneType else one.__name__ for one in types)
            return f'the setting "{key}" of {_called(kind, config["type"])} is {config[key]!r}, not {names}'
    return None


def _rejected_by_library(registry: Registry, config: Mapping[str, Any], error: Exception) -> str | None:
    """Return what a class of the libraries says about settings that it has."""
    kind = _resolve(registry, config.get('type'))
    if getattr(kind, '__module__', '').partition('.')[0] not in LIBRARIES:
        return None
    return f'{_called(kind, config["type"])} cannot be built ({_text(error).rstrip(".")})'


def _rejected_by_loader(settings: Mapping[str, Any], error: Exception) -> str | None:
    """Return what torch's DataLoader says about its settings, none of which has a name that other parts use."""
    text = _text(error)
    unknown = next((key for key in settings if 'DataLoader' in text and f"'{key}'" in text), None)
    if unknown is not None:
        return f'DataLoader has no setting "{unknown}"{did_you_mean(unknown, LOADER)}'
    return text.rstrip('.') if isinstance(error, ValueError) and any(key in text for key in LOADER) else None


def _called(kind: Any, name: Any) -> str:
    return name if isinstance(name, str) else kind.__name__


def _text(error: Exception) -> str:
    """Return the message in one line; a KeyError's own text is in quotes."""
    return ' '.join(str(error.args[0] if error.args else type(error).__name__).split())


def _resolve(registry: Registry, name: Any) -> Any:
    """Return the class or function of a ``type``, or None if there is none."""
    if not isinstance(name, str):
        return name if callable(name) else None
    with registry.switch_scope_and_registry(None) as scoped:
        return scoped.get(name)


def _names(registry: Registry) -> Iterator[str]:
    """Yield every name that a ``type`` may be: those of the current scope, and those of all with a scope's prefix."""
    with registry.switch_scope_and_registry(None) as scoped:
        yield from scoped.module_dict
    yield from (*registry.module_dict, *MODULE_OF.get(registry.name, ()))
    for scope, child in registry.children.items():
        yield from (f'{scope}.{name}' for name in child.module_dict)


def _settings(kind: Any) -> dict[str, inspect.Parameter]:
    """Return the settings of a class or function by name.

    A constructor that takes ``**kwargs`` hands them to the next one in the order of inheritance.
    """
    owners = [kind]
    if inspect.isclass(kind):
        owners = [vars(base)['__init__'] for base in kind.__mro__[:-1] if '__init__' in vars(base)]
    found: dict[str, inspect.Parameter] = {}
    for owner in owners:
        parameters = inspect.signature(owner).parameters.values()
        named = [part for part in parameters if part.kind in (part.POSITIONAL_OR_KEYWORD, part.KEYWORD_ONLY)]
        found = {part.name: part for part in named if part.name != 'self'} | found
        if not any(part.kind is part.VAR_KEYWORD for part in parameters):
            break
    return found
