"""Numbers for files, and plain text tables for logs and terminals."""

import math
from collections.abc import Sequence
from typing import Any

EMPTY = ('', '-')
"""Cells that say nothing."""


def plain_number(value: Any) -> float | None:
    """Return a JSON number, or None for what was not measured (nan)."""
    # The shortest decimal of a numpy float32: 57.03, where float() gives 57.029998779296875.
    number = float(str(value))
    return number if math.isfinite(number) else None


def format_number(value: float | str | None, digits: int = 1) -> str:
    """Return ``value`` with ``digits`` decimals; strings stay, and what was not measured (nan, None) is '-'."""
    if isinstance(value, str):
        return value
    return '-' if value is None or math.isnan(value) else f'{value:.{digits}f}'


def format_table(header: Sequence[str], rows: Sequence[Sequence[float | str | None]]) -> str:
    """Return an aligned table: the first column to the left, all others to the right, none that is empty in all rows.

    Args:
        header: Names of the columns.
        rows: One sequence of cells a row, each as long as ``header``.
    """
    cells = [list(header), *[[format_number(cell) for cell in row] for row in rows]]
    columns = [i for i in range(len(header)) if i == 0 or not rows or any(row[i] not in EMPTY for row in cells[1:])]
    cells = [[row[column] for column in columns] for row in cells]
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = [
        '  '.join(cell.rjust(width) if i else cell.ljust(width) for i, (cell, width) in enumerate(zip(row, widths)))
        for row in cells
    ]
    lines.insert(1, '  '.join('-' * width for width in widths))
    return '\n'.join(line.rstrip() for line in lines)
