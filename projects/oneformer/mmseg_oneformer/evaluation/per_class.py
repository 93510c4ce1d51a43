"""What the metrics know about single classes: for ``results.json`` and for the table of ``--per-class``."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..text_table import format_table, plain_number

ClassNumbers = Mapping[str, Mapping[str, float | None]]
"""Numbers 0-100 by class and name; None is not measured."""


def class_numbers(metrics: Iterable[Any], classes: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """Gather the ``class_values`` (arrays (K,) by name) of all metrics that have some.

    Of several processes only the first has computed them.
    """
    columns: dict[str, np.ndarray] = {}
    for metric in metrics:
        columns |= getattr(metric, 'class_values', {})
    return {
        label: {name: plain_number(values[place]) for name, values in columns.items()}
        for place, label in enumerate(classes)
    }


def format_classes(per_class: Mapping[str, ClassNumbers]) -> str:
    """Return a table a token, with a line a class."""
    tables = []
    for token, numbers in per_class.items():
        names = list(next(iter(numbers.values()), {}))
        rows = [[label, *row.values()] for label, row in numbers.items()]
        tables.append(f'{token}\n{format_table(["class", *names], rows)}')
    return '\n\n'.join(tables)
