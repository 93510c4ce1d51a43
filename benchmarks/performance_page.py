"""Tables for a page from the JSON that measurements have written, so that no figure is typed by hand."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmseg_oneformer.errors import UserError
from mmseg_oneformer.files import write_atomic

from .rows import Row, megabytes, read_rows, seconds, spread
from .scaling import scaling_tables

BEGIN, END = '<!-- report of benchmark.py -->', '<!-- end of the report -->'
"""Lines of a page that enclose the report."""


def markdown_report(paths: Sequence[str | os.PathLike[str]]) -> str:
    """Return the content of files from ``benchmark.py --out`` as Markdown: ratios, parts, growth, and the commands.

    Raises:
        FileNotFoundError: There is no such file.
        UserError: A file is not of this kind.
    """
    found = [read_rows(path) for path in paths]
    rows = [row for part, _ in found for row in part]
    split = {row.name.partition('/')[0] for row in rows if '/' in row.name}
    # Without a peer, a row with parts is in the table of its parts.
    plain = [row for row in rows if not set('/@') & set(row.name) and (row.peer_s is not None or row.name not in split)]
    sections = []
    if plain:
        header = ['what', 'size', 'format', 'ours', 'peer', 'ratio', 'our peak', "peer's peak"]
        sections.append(_markdown(header, [_comparison(row) for row in plain]))
    for part, _ in found:
        sections += [_markdown(*table) for table in _part_tables(part)]
    sections += [_markdown(*table) for table in scaling_tables(rows)]
    sections.append(_provenance([context for _, context in found]))
    return '\n\n'.join(sections) + '\n'


def write_into(page: str | os.PathLike[str], report: str) -> None:
    """Put a report between the marks of a page, replacing the previous one.

    Raises:
        FileNotFoundError: There is no such page.
        UserError: It has no marks.
    """
    text = Path(page).read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(f'{page} has no place for a report; put the lines {BEGIN} and {END} where it belongs.')
    write_atomic(page, f'{before}{BEGIN}\n\n{report}\n{END}{after}')


def _comparison(row: Row) -> list[str]:
    peer = '-' if row.peer_s is None else f'{row.peer} {_time(row.peer_s, row.peer_spread)}'
    device = '' if row.device == 'cpu' else f'{row.device}, '
    return [
        row.name,
        row.size,
        device + row.dtype,
        _time(row.ours_s, row.ours_spread),
        peer,
        '-' if row.ratio is None else f'**{row.ratio:.2f}**',
        megabytes(row.ours_peak_mb),
        megabytes(row.peer_peak_mb),
    ]


def _part_tables(rows: Sequence[Row]) -> list[tuple[list[str], list[list[str]]]]:
    """Return a table for each call whose parts were measured: their times and shares.

    The parts were timed in runs of their own, so their sum is not quite the time of the whole.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        whole, _, part = row.name.partition('/')
        if part:
            groups.setdefault(whole, []).append(row)
    tables = []
    for whole, parts in groups.items():
        total = sum(row.ours_s for row in parts)
        cells = [
            [row.name.partition('/')[2], seconds(row.ours_s), f'{100 * row.ours_s / total:.0f} %'] for row in parts
        ]
        cells += [['all', seconds(row.ours_s), megabytes(row.ours_peak_mb)] for row in rows if row.name == whole]
        tables.append(([f'{whole}, {parts[0].size}, {parts[0].dtype}', 'time', 'share; memory'], cells))
    return tables


def _provenance(contexts: Sequence[dict[str, Any]]) -> str:
    """Return the commands, and machines and versions each once."""
    commands = [str(context['command']) for context in contexts if 'command' in context]
    facts = dict.fromkeys(
        f'{context["machine"]}; {context["versions"]}' for context in contexts if 'machine' in context
    )
    return '\n'.join(['```', *commands, '```', *facts])


def _time(median: float, range_: tuple[float, float] | None) -> str:
    return seconds(median) if range_ is None else f'{seconds(median)} ({spread(range_)})'


def _markdown(header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    lines = [list(header), ['---'] + ['---:'] * (len(header) - 1), *cells]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)
