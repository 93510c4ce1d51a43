"""Results on disk as cells of the paper's tables.

Decisions:
* A ``results.json`` belongs to a row by its ``model``, the stem of the config. One that was trained or tested with
  options that override the config belongs to no row: it is another experiment. The same holds for one over other images
  than the table's, such as a part of them, and for one from the middle of a training run.
* Results from several views of a photo (``--tta``) fill the column of multi-scale mIoU and no other.
* The mean is over training runs, distinguished by their seed, or by their weights if the seed is not known. Of several
  results of one run, the one trained longest counts, then the newest.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..annotations.values import brief
from ..errors import MissingFileError, UserError
from ..evaluation.results import OWN, own_token_metrics
from ..files import read_json
from .paper import METRICS, MULTI_SCALE

HARMLESS = ('data_root', 'num_workers', 'persistent_workers', 'pin_memory')
"""Last parts of the options that state where the data are and how they are loaded, and so change no result."""

NONE = type(None)
KINDS: dict[str, tuple[type, ...]] = {
    'model': (str,),
    'seed': (int, NONE),
    'iteration': (int, NONE),
    'weights_sha256': (str,),
    'num_images': (int, NONE),
    'options': (dict, NONE),
    'metrics': (dict,),
}
"""What a ``results.json`` holds; whatever else is in it is not read here."""


@dataclass(frozen=True)
class Result:
    """One ``results.json``."""

    path: Path
    model: str
    seed: int | None
    iteration: int | None
    weights: str
    num_images: int
    options: Mapping[str, Any]
    metrics: Mapping[str, Mapping[str, float | None]]

    @property
    def run(self) -> str:
        """What distinguishes training runs."""
        return f'seed {self.seed}' if self.seed is not None else f'weights {self.weights[:8]}'

    @property
    def changes(self) -> list[str]:
        """The options that make this another experiment than its config."""
        return [
            f'{key}={value}'
            for key, value in self.options.items()
            if key != 'tta' and key.rpartition('.')[2] not in HARMLESS
        ]

    def objection(self, images: int, iterations: int | None) -> str | None:
        """Return why this is not a result for a table, or None if it is one.

        Args:
            images: Photos that the table is measured on.
            iterations: Of the whole training, if known.
        """
        if self.changes:
            return f'it has options: {" ".join(self.changes)}'
        if None not in (iterations, self.iteration) and self.iteration != iterations:
            return f'it is from iteration {self.iteration} of {iterations}'
        return None if self.num_images == images else f'the paper has {images} images'

    def value(self, column: str, token: str | None) -> float | None:
        """Return the number for ``column``, 0-100; None if it was not measured.

        Args:
            column: A key of ``METRICS``.
            token: The task whose token made the prediction; None for each prediction's own.
        """
        multi_scale = column == MULTI_SCALE
        if multi_scale != ('tta' in self.options):
            return None
        if token is not None:
            found = self.metrics.get(token, {})
        else:
            found = self.metrics[OWN] if OWN in self.metrics else own_token_metrics(self.metrics)
        return found.get(METRICS[column])


@dataclass(frozen=True)
class Cell:
    """Mean over training runs, standard deviation of the sample (None for one run), and number of runs."""

    mean: float
    deviation: float | None
    runs: int

    def __str__(self) -> str:
        """Return, for example, '49.8' or '49.8 ± 0.2 (3)'."""
        return f'{self.mean:.1f}' if self.deviation is None else f'{self.mean:.1f} ± {self.deviation:.1f} ({self.runs})'


def read_result(path: Path) -> Result | None:
    """Read a file; None if it is another program's.

    Raises:
        UserError: It is not JSON.
    """
    content = read_json(path, 'remove it or measure again')
    if not isinstance(content, dict) or not {'model', 'metrics', 'weights_sha256'} <= set(content):
        return None
    for key, kinds in KINDS.items():
        if not isinstance(content.get(key), kinds):
            raise UserError(f'{path} has {brief(content.get(key))} for {key!r}; remove it or measure again.')
    if not all(isinstance(numbers, dict) for numbers in content['metrics'].values()):
        raise UserError(f'{path} has "metrics" that are no numbers of tasks; remove it or measure again.')
    return Result(
        path=path,
        model=content['model'],
        seed=content.get('seed'),
        iteration=content.get('iteration'),
        weights=content['weights_sha256'],
        num_images=content.get('num_images') or 0,
        options=content.get('options') or {},
        metrics=content['metrics'],
    )


def find_results(folders: Iterable[Path]) -> dict[str, list[Result]]:
    """Return every ``results*.json`` below ``folders`` by model; of one run the last one counts.

    Raises:
        FileNotFoundError: A folder does not exist.
        UserError: A file is broken.
    """
    found: dict[str, list[Result]] = {}
    for folder in folders:
        if not folder.is_dir():
            raise MissingFileError(f'There is no folder {folder}; name folders with results.json files by --results.')
        for path in sorted(folder.rglob('results*.json')):
            result = read_result(path)
            if result is not None:
                found.setdefault(result.model, []).append(result)
    for results in found.values():
        results.sort(key=lambda result: (result.iteration or 0, result.path.stat().st_mtime))
    return found


def fill(
    results: Sequence[Result], column: str, token: str | None, images: int, iterations: int | None = None
) -> Cell | None:
    """Return our number for a cell of a table, or None if nothing was measured.

    Args:
        results: Those of the row's config, as ``find_results`` sorts them.
        column: A key of ``METRICS``.
        token: Of the row.
        images: Of the table.
        iterations: Of the whole training, if known.
    """
    by_run = {}
    for result in results:
        value = None if result.objection(images, iterations) else result.value(column, token)
        if value is not None:
            by_run[result.run] = value
    if not by_run:
        return None
    values = list(by_run.values())
    return Cell(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def describe(result: Result, images: int, iterations: int | None = None) -> str:
    """Return one line on where numbers come from; ``images`` and ``iterations`` as for :func:`fill`."""
    trained = '' if result.iteration is None else f', iteration {result.iteration}'
    objection = result.objection(images, iterations)
    left_out = '' if objection is None else f'; left out, as {objection}'
    return f'{result.model}: {result.path}, {result.run}{trained}, {result.num_images} images{left_out}'
