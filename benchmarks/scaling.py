"""How cost grows: one quantity over several values, and the exponents of time and memory."""

import argparse
import math
import re
from collections.abc import Sequence

from .rows import Row, megabytes, seconds

QUANTITIES = ('size', 'queries', 'segments', 'batch')


def parse_over(text: str) -> tuple[str, list[int]]:
    """Read 'queries=50,100,200' for argparse.

    Raises:
        argparse.ArgumentTypeError: The text has another form.
    """
    name, _, values = text.partition('=')
    if name not in QUANTITIES or not re.fullmatch(r'[1-9]\d*(,[1-9]\d*)*', values):
        raise argparse.ArgumentTypeError(
            f'{text!r} is not NAME=VALUE,VALUE,... with one of {", ".join(QUANTITIES)}; for example size=256,512'
        )
    return name, [int(value) for value in values.split(',')]


def exponents(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    """Return the exponent of y over x: fitted to all points, and between the last two.

    Args:
        xs: At least two values, ascending.
        ys: As many, above 0.
    """
    log_x, log_y = [math.log(x) for x in xs], [math.log(y) for y in ys]
    mean_x, mean_y = sum(log_x) / len(xs), sum(log_y) / len(ys)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in zip(log_x, log_y)) / sum((x - mean_x) ** 2 for x in log_x)
    return slope, (log_y[-1] - log_y[-2]) / (log_x[-1] - log_x[-2])


def scaling_tables(rows: Sequence[Row]) -> list[tuple[list[str], list[list[str]]]]:
    """Return header and cells of a table for each quantity that rows named 'what@quantity=value' were measured over.

    Exponents are over pixels for 'size', and over the quantity itself for the others. The last line has those of our
    time and memory, fitted to all lines and, in brackets, between the last two.
    """
    groups: dict[tuple[str, str], list[tuple[int, Row]]] = {}
    for row in rows:
        found = re.fullmatch(r'(.+)@(\w+)=(\d+)', row.name)
        if found:
            groups.setdefault((found[1], found[2]), []).append((int(found[3]), row))
    return [
        _table(what, quantity, sorted(found, key=lambda pair: pair[0])) for (what, quantity), found in groups.items()
    ]


def _table(what: str, quantity: str, found: list[tuple[int, Row]]) -> tuple[list[str], list[list[str]]]:
    cells = [[str(value), seconds(row.ours_s), megabytes(row.ours_peak_mb)] for value, row in found]
    if len(found) > 1:
        xs = [float(value**2 if quantity == 'size' else value) for value, _ in found]
        last = ['exponent', _pair(xs, [row.ours_s for _, row in found])]
        peaks = [row.ours_peak_mb for _, row in found if row.ours_peak_mb]
        last.append(_pair(xs, peaks) if len(peaks) == len(found) else '-')
        cells.append(last)
    setting = '' if quantity == 'size' else f' at {found[0][1].size}'
    return [f'{what}{setting} over {quantity}', 'time', 'memory'], cells


def _pair(xs: Sequence[float], ys: Sequence[float]) -> str:
    fitted, local = exponents(xs, ys)
    return f'{fitted:.2f} ({local:.2f})'
