"""The paper's tables with our parameters, operations and results beside the published numbers."""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..models.skeleton import count_parameters, one_task_skeleton
from ..text_table import format_number, format_table
from ..zoo.configs import read_config
from .flops import Flops, Input, Size, crop_size, mean_flops, photo_inputs
from .paper import METRICS, Row, Table
from .results_cells import Cell, Result, describe, fill

TITLES = {'params': 'params M', 'flops': 'FLOPs G', 'mIoU_ms': 'mIoU ms', 'extra_data': 'extra data'}
FLOPS_TITLES = ('seen', '%', '+network', '%', '+post', '%', 'all')
FLOPS_LEGEND = (
    'FLOPs: G multiply-adds for one task; %: difference from the paper. seen: what usual counters see of our code. '
    '+network: plus what only the reference code computes, masks at 1/4 before every layer and projections one by '
    "one. +post: plus its post-processing at the photos' size, if that is known. all: every operation of our network."
)


@dataclass
class FilledRow:
    """A row with our numbers for its config."""

    row: Row
    parameters: int | None = None
    flops: Flops | None = None
    ours: dict[str, Cell] = field(default_factory=dict)


@dataclass
class FilledTable:
    """A table with our numbers for its configs, and where they come from."""

    table: Table
    rows: list[FilledRow]
    sources: list[str]
    remarks: list[str]


@functools.cache
def parameters_of(config: str) -> int:
    """Return the trainable parameters at inference of the model of a config."""
    return count_parameters(one_task_skeleton(read_config(config)))


@functools.cache
def flops_of(config: str, photos: tuple[Path, ...], photo: Size | None) -> Flops:
    """Return the operations of a config's model.

    Args:
        config: Its name.
        photos: Folders, for the mean over their photos at test size; empty for the size of the training crop.
        photo: Size of all photos of the data set, if they have one.
    """
    cfg = read_config(config)
    inputs = photo_inputs(photos, cfg) if photos else {Input(crop_size(cfg), photo): 1}
    return mean_flops(one_task_skeleton(cfg), inputs)


def fill_table(
    table: Table, results: Mapping[str, Sequence[Result]], flops: bool = False, photos: Sequence[Path] = ()
) -> FilledTable:
    """Add our numbers to a table.

    Args:
        table: As declared.
        results: By model, from ``find_results``.
        flops: Count operations, in tables that state them.
        photos: Folders, for a table whose numbers are means over photos at test size (COCO).
    """
    filled = FilledTable(table, [], [], [])
    at_test_size = table.flops_at_test_size
    for row in table.rows:
        entry = FilledRow(row)
        if row.config is not None:
            if 'params' in table.columns:
                entry.parameters = parameters_of(row.config)
            if flops and 'flops' in table.columns and not (at_test_size and not photos):
                entry.flops = flops_of(row.config, tuple(photos) if at_test_size else (), table.photo)
            own = results.get(row.config, ())
            whole = table.images, read_config(row.config).train_cfg.max_iters if own else None
            cells = {column: fill(own, column, row.token, *whole) for column in table.columns if column in METRICS}
            entry.ours = {column: cell for column, cell in cells.items() if cell is not None}
            lines = [describe(result, *whole) for result in own]
            filled.sources += [line for line in lines if line not in filled.sources]
        filled.rows.append(entry)
    if flops and 'flops' in table.columns and at_test_size:
        where = ' and '.join(map(str, photos))
        filled.remarks.append(
            f'FLOPs: the paper has the mean over 100 validation photos, ours is the mean over those of {where}.'
            if photos
            else 'FLOPs are means over photos here, but none are given; name folders of photos with --photos.'
        )
    return filled


def plain(value: Any) -> str:
    """Return a published value as text."""
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    return format_number(value) if isinstance(value, float) else '-' if value is None else str(value)


def flops_cells(flops: Flops | None, published: Any) -> list[str]:
    """Return the cells below ``FLOPS_TITLES``."""
    if flops is None:
        return ['-'] * len(FLOPS_TITLES)
    cells, value = [], flops.seen
    for more in (0.0, flops.network, flops.postprocessing):
        if more is None:
            cells += ['-', '-']
            continue
        value += more
        known = isinstance(published, int | float)
        cells += [format_number(value), f'{100 * (value / published - 1):+.1f}' if known else '-']
    return [*cells, format_number(flops.all)]


def layout(filled: FilledTable) -> tuple[list[str], list[list[str]]]:
    """Return header and cells: our column follows the paper's, if we have any number for it."""
    header: list[str] = []
    columns: list[list[str]] = []
    for name in filled.table.columns:
        header.append(TITLES.get(name, name))
        columns.append([plain(entry.row.published.get(name)) for entry in filled.rows])
        if name == 'params' and any(entry.parameters for entry in filled.rows):
            header.append('ours')
            columns.append([format_number(e.parameters and e.parameters / 1e6, 3) for e in filled.rows])
        if name == 'flops' and any(entry.flops for entry in filled.rows):
            header += FLOPS_TITLES
            blocks = [flops_cells(entry.flops, entry.row.published.get(name)) for entry in filled.rows]
            columns += [list(column) for column in zip(*blocks)]
        if any(name in entry.ours for entry in filled.rows):
            header.append('ours')
            columns.append([str(entry.ours.get(name, '-')) for entry in filled.rows])
    return header, [list(cells) for cells in zip(*columns)]


def format_markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown: the first column aligned left, all others right."""
    lines = [header, ['---', *['---:'] * (len(header) - 1)], *rows]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def format_tables(filled: Sequence[FilledTable], markdown: bool = False) -> str:
    """Return the tables as text for a terminal, or as Markdown."""
    blocks = []
    for entry in filled:
        title = f'Table {entry.table.number}: {entry.table.caption}'
        body = (format_markdown if markdown else format_table)(*layout(entry))
        below = [*entry.table.notes, *entry.remarks, *(f'ours: {source}' for source in entry.sources)]
        if markdown:
            notes = '\n'.join(f'* {line}' for line in below)
            blocks.append('\n\n'.join(part for part in (f'## {title}', body, notes) if part))
        else:
            blocks.append('\n'.join([title, body, *below]))
    if any(row.flops for entry in filled for row in entry.rows):
        blocks.append(FLOPS_LEGEND)
    return '\n\n'.join(blocks) + '\n'


def format_json(filled: Sequence[FilledTable]) -> str:
    """Return the tables as JSON, our numbers unrounded."""
    tables = [
        {
            'table': entry.table.number,
            'caption': entry.table.caption,
            'notes': [*entry.table.notes, *entry.remarks],
            'rows': [
                {
                    'published': dict(row.row.published),
                    'config': row.row.config,
                    'parameters': row.parameters,
                    'flops': None if row.flops is None else asdict(row.flops),
                    'ours': {column: asdict(cell) for column, cell in row.ours.items()},
                }
                for row in entry.rows
            ],
            'sources': entry.sources,
        }
        for entry in filled
    ]
    return json.dumps(tables, indent=2) + '\n'
