"""Which runs a sweep consists of, and the folder of each."""

import hashlib
import itertools
import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import MissingFileError, UserError
from ..files import write_atomic
from ..zoo.cfg_options import read_options
from ..zoo.configs import find_config, read_config

NO_OPTIONS = 'default'
"""Folder of runs of an unchanged config."""

LONGEST_NAME = 120
"""Maximum length of a folder's name in characters; file systems allow 255 bytes."""


@dataclass(frozen=True)
class Run:
    """One training with one seed, and its evaluation."""

    config: str
    """Config file, or the name of a model."""
    name: str
    """The model's name: stem of the config file."""
    options: tuple[str, ...]
    """``KEY=VALUE``, as for ``--cfg-options``."""
    seed: int
    folder: Path
    max_iters: int | None
    """Length of training; None if the config does not count iterations."""
    fingerprint: str
    """SHA-256 of the config with its options: results of another version of the config do not count."""

    @property
    def label(self) -> str:
        """Folder without the work dir, for display."""
        return '/'.join(self.folder.parts[-3:])


def plan_runs(configs: Sequence[str], seeds: Sequence[int], options: Sequence[str], work_dir: str | Path) -> list[Run]:
    """Return all runs: by config, then options, then seed.

    Args:
        configs: Config files or names of models.
        seeds: Seeds; each is used with every config and every combination of options.
        options: Each a text of one or more ``KEY=VALUE`` that belong together. Those with the same keys are
            alternatives; those with different keys are combined, every alternative with every other.
        work_dir: Folder of the sweep.

    Raises:
        UserError: An unknown config, two with the same name, options that are invalid or contradict each other, or a
            run that was started with another version of its config.
    """
    paths: dict[str, str] = {}
    for config in dict.fromkeys(configs):
        name = find_config(config).stem
        if name in paths:
            raise UserError(f'two configs are named {name}: {paths[name]} and {config}; rename one or leave it out.')
        paths[name] = config
    runs = []
    for name, config in paths.items():
        for combination in combine_options(options):
            cfg = read_config(config, read_options(combination, '--options'))
            content = json.dumps(cfg.to_dict(), sort_keys=True, default=str)
            shared: dict[str, Any] = {
                'config': config,
                'name': name,
                'options': combination,
                'max_iters': (cfg.get('train_cfg') or {}).get('max_iters'),
                'fingerprint': hashlib.sha256(content.encode()).hexdigest(),
            }
            folder = Path(work_dir) / name / folder_name(combination)
            runs += [Run(**shared, seed=seed, folder=folder / f'seed{seed}') for seed in dict.fromkeys(seeds)]
    for run in runs:
        if (run.folder / 'run.json').is_file():
            _check_same(run, read_run(run.folder))
    return runs


def combine_options(options: Sequence[str]) -> list[tuple[str, ...]]:
    """Return every combination of alternatives; one empty combination without options.

    Raises:
        UserError: Something is not ``KEY=VALUE``, or a key is in two groups.

    Example:
        >>> combine_options(['lr=1', 'lr=2', 'a=3 b=4'])
        [('lr=1', 'a=3', 'b=4'), ('lr=2', 'a=3', 'b=4')]
    """
    groups: dict[frozenset[str], list[tuple[str, ...]]] = {}
    for option in options:
        settings = tuple(shlex.split(option))
        for setting in settings or (option,):
            if not re.fullmatch(r'[\w.]+=.+', setting):
                raise UserError(f'--options takes KEY=VALUE, not "{setting}".')
        keys = frozenset(setting.partition('=')[0] for setting in settings)
        for other in groups:
            if keys & other and keys != other:
                raise UserError(
                    f'--options sets {min(keys & other)} together with different keys; alternatives must set the same '
                    'keys.'
                )
        alternatives = groups.setdefault(keys, [])
        if settings not in alternatives:
            alternatives.append(settings)
    return [tuple(itertools.chain(*parts)) for parts in itertools.product(*groups.values())]


def folder_name(settings: Sequence[str]) -> str:
    """Return a folder's name for a combination of options, readable and unique."""
    text = ','.join(settings)
    name = re.sub(r'[^\w.=,+-]', '_', text) or NO_OPTIONS
    if name in (text, NO_OPTIONS) and len(name) <= LONGEST_NAME:
        return name
    return f'{name[: LONGEST_NAME - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}'


def write_run(run: Run) -> None:
    """Write the description of a run into its folder.

    Raises:
        UserError: The folder holds a run of another version of the config.
    """
    path = run.folder / 'run.json'
    if path.is_file():
        _check_same(run, read_run(run.folder))
        return
    content = asdict(run) | {'folder': str(run.folder)}
    write_atomic(path, json.dumps(content, indent=2) + '\n')


def read_run(folder: str | Path) -> Run:
    """Return the run in ``folder``.

    Raises:
        FileNotFoundError: There is none.
    """
    path = Path(folder) / 'run.json'
    if not path.is_file():
        raise MissingFileError(f'{folder} is not a run of a sweep: it has no run.json; give the folder of a run.')
    content = json.loads(path.read_text())
    return Run(**content | {'options': tuple(content['options']), 'folder': Path(folder)})


def _check_same(planned: Run, found: Run) -> None:
    """Raise a UserError if the run in a folder was started with another version of its config."""
    if planned.fingerprint != found.fingerprint:
        raise UserError(
            f'{planned.config} has changed since the run in {planned.folder} began; remove that folder, or choose '
            'another --work-dir.'
        )
