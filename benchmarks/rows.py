"""The results of a benchmark: rows, for JSON and for a terminal."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from mmseg_oneformer.errors import UserError
from mmseg_oneformer.files import write_atomic
from mmseg_oneformer.text_table import format_table

from .measure import Measured


@dataclass(frozen=True)
class Row:
    """One measurement, with or without a peer."""

    name: str
    """What was done, such as 'three-answers'; 'three-answers/backbone' is a part of it."""
    ours_s: float
    """Median seconds."""
    peer_s: float | None
    ratio: float | None
    """ours_s / peer_s: below 1 is faster."""
    ours_peak_mb: float | None
    """Peak memory of a call, above what was in use before, in 10^6 bytes; None if it cannot be measured."""
    peer_peak_mb: float | None
    device: str
    dtype: str
    size: str
    """Height x width of the images, or another measure of the work."""
    ours_spread: tuple[float, float] | None = None
    """Minimum and maximum seconds of all runs."""
    peer_spread: tuple[float, float] | None = None
    runs: int = 1
    peer: str | None = None
    """The code it was measured against."""


def make_row(name: str, measured: Measured, *, device: object, dtype: str, size: str, peer: str | None = None) -> Row:
    """Return the row of a measurement.

    Args:
        name: What was done.
        measured: Both sides.
        device: Where it ran.
        dtype: Number format, such as 'fp32'.
        size: Size of the work.
        peer: Name of the peer, if there is one.
    """
    ours, theirs = measured.ours, measured.peer
    return Row(
        name,
        ours.median,
        None if theirs is None else theirs.median,
        measured.ratio,
        ours.peak_mb,
        None if theirs is None else theirs.peak_mb,
        str(device),
        dtype,
        size,
        ours.spread,
        None if theirs is None else theirs.spread,
        len(ours.seconds),
        None if theirs is None else peer,
    )


def write_rows(rows: Sequence[Row], path: str | os.PathLike[str], context: Mapping[str, Any] | None = None) -> None:
    """Write rows as a JSON list, whole or not at all.

    Args:
        rows: All their fields are written.
        path: The file.
        context: Further entries of every row: the command, the machine, the versions.
    """
    content = [asdict(row) | dict(context or {}) for row in rows]
    write_atomic(path, json.dumps(content, indent=1) + '\n')


def read_rows(path: str | os.PathLike[str]) -> tuple[list[Row], dict[str, Any]]:
    """Return the rows of a file and their context.

    Raises:
        FileNotFoundError: There is no such file.
        UserError: It is not a list of rows.
    """
    known = {field.name for field in fields(Row)}
    try:
        entries = json.loads(Path(path).read_text())
        rows = [Row(**{key: _frozen(value) for key, value in entry.items() if key in known}) for entry in entries]
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError, AttributeError) as error:
        raise UserError(f'{path} is not a list of rows; give a file that benchmark.py --out has written.') from error
    context = {key: value for key, value in entries[0].items() if key not in known} if entries else {}
    return rows, context


def format_rows(rows: Sequence[Row]) -> str:
    """Return the rows as a table for the terminal."""
    return format_table(_HEADER, [_cells(row) for row in rows])


_HEADER = ['what', 'size', 'ours', 'spread', 'peer', 'spread', 'ratio', 'our peak', "peer's peak"]


def _cells(row: Row) -> list[str]:
    return [
        row.name,
        row.size,
        seconds(row.ours_s),
        spread(row.ours_spread),
        '-' if row.peer_s is None else f'{seconds(row.peer_s)} ({row.peer})',
        spread(row.peer_spread),
        '-' if row.ratio is None else f'{row.ratio:.2f}',
        megabytes(row.ours_peak_mb),
        megabytes(row.peer_peak_mb),
    ]


def seconds(value: float) -> str:
    """Return seconds with three digits, in s or ms."""
    number, unit = (value, 's') if value >= 1 else (value * 1000, 'ms')
    return f'{number:.{2 if number < 10 else 1 if number < 100 else 0}f} {unit}'


def megabytes(value: float | None) -> str:
    """Return MB, or '-'."""
    return '-' if value is None else f'{value:.0f} MB'


def spread(value: tuple[float, float] | None) -> str:
    """Return minimum and maximum seconds, or '-'."""
    return '-' if value is None else f'{seconds(value[0])} to {seconds(value[1])}'


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
