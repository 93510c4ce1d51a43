"""The tables of the paper as they are declared in ``configs/oneformer/paper.yml``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mmengine

from ..errors import UserError
from ..tasks import TASKS
from ..zoo.configs import config_root

MULTI_SCALE = 'mIoU_ms'
"""The column of results from several views of a photo."""
METRICS = {  # column -> name in results.json
    **{name: name for name in ('PQ', 'PQ_th', 'PQ_st', 'AP', 'mIoU', 'AP_instance')},
    MULTI_SCALE: 'mIoU',
}
FACTS = (
    *('method', 'backbone', 'queries', 'crop', 'iterations', 'epochs', 'extra_data', 'multi_scale'),
    *('token', 'loss', 'template', 'context', 'weight', 'training'),
)
COLUMNS = (*FACTS, 'params', 'flops', *METRICS)
ROW_KEYS = {*COLUMNS, 'config'}
TABLE_KEYS = {'table', 'caption', 'images', 'photo', 'flops_at_test_size', 'columns', 'notes', 'rows'}


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        published: What the paper gives, by column.
        config: The config that stands for the row, or None.
        token: The task whose token made all predictions of the row; None for each prediction from its own.
    """

    published: Mapping[str, Any]
    config: str | None
    token: str | None


@dataclass(frozen=True)
class Table:
    """A table: its number in the paper, and its rows and columns in the paper's order.

    Attributes:
        images: Photos of the validation set.
        photo: Height and width of all photos of the data set in pixels; None if they differ.
        flops_at_test_size: FLOPs are a mean over photos at test size; otherwise those of a training crop.
    """

    number: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Row]
    images: int
    notes: Sequence[str] = ()
    photo: tuple[int, int] | None = None
    flops_at_test_size: bool = False


def load_paper(path: Path | None = None) -> list[Table]:
    """Read the declaration.

    Args:
        path: The file (default: the one that is shipped with the configs).

    Raises:
        UserError: A table or row has an unknown key, column or token.
    """
    path = path or config_root() / 'oneformer/paper.yml'
    return [_table(entry, path) for entry in mmengine.load(path)['tables']]


def _table(entry: Mapping[str, Any], path: Path) -> Table:
    number: str = entry['table']
    strangers = set(entry) - TABLE_KEYS or set(entry['columns']) - set(COLUMNS)
    if strangers:
        raise UserError(f'{path}: Table {number} has the unknown key or column "{min(strangers)}"; correct it.')
    rows = []
    for fields in entry['rows']:
        unknown = set(fields) - ROW_KEYS
        if unknown or fields.get('token', TASKS[0]) not in TASKS:
            what = f'unknown key "{min(unknown)}"' if unknown else f'unknown token "{fields["token"]}"'
            raise UserError(f'{path}: a row of Table {number} has the {what}; correct it.')
        published = {column: fields[column] for column in entry['columns'] if fields.get(column) is not None}
        rows.append(Row(published, fields.get('config'), fields.get('token')))
    return Table(
        number,
        entry['caption'],
        entry['columns'],
        rows,
        entry['images'],
        notes=entry.get('notes', ()),
        photo=tuple(entry['photo']) if 'photo' in entry else None,
        flops_at_test_size=entry.get('flops_at_test_size', False),
    )


def select(
    tables: Sequence[Table],
    numbers: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    only_ours: bool = False,
) -> list[Table]:
    """Return some of the tables, or some columns or rows of them.

    Args:
        tables: All tables.
        numbers: Those to return (default: all).
        columns: Columns to keep, where a table has them (default: all).
        only_ours: Keep the rows that have a config.

    Raises:
        UserError: There is no such table or column.
    """
    known = {table.number.lower(): table for table in tables}
    for number in numbers or ():
        if number.lower() not in known:
            raise UserError(f'the paper has no Table {number}; its tables are {", ".join(t.number for t in tables)}.')
    for column in columns or ():
        if column not in COLUMNS:
            raise UserError(f'no table has a column "{column}"; columns are {", ".join(COLUMNS)}.')
    return [
        replace(
            table,
            columns=[column for column in table.columns if columns is None or column in columns],
            rows=[row for row in table.rows if row.config is not None or not only_ours],
        )
        for table in ([known[number.lower()] for number in numbers] if numbers else tables)
    ]
