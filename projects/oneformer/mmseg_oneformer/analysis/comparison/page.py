"""The page of a comparison: a folder with one HTML file and JPEGs, to be opened without a server or a network.

Whatever comes from data is escaped, and the page allows no script and no style but its own.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ...evaluation.report.assets import STYLE as BASE
from .compared import Compared
from .quality import QUALITIES

STYLE = (
    BASE
    + """
.sheet { margin: 10px 0; }
.sheet img { border: 1px solid var(--line); }
h3 { margin: 14px 0 4px; font-size: 14px; }
h3 span { color: var(--faint); font-weight: normal; }
td:nth-child(n+3), th:nth-child(n+3) { text-align: left; }
"""
)


def comparison_page(
    names: Sequence[str], summary: Mapping[str, Any], shown: Sequence[tuple[str, Mapping[str, str], Sequence[Compared]]]
) -> str:
    """Return the HTML.

    Args:
        names: Of the two models.
        summary: ``num_photos``, and ``tasks`` with ``share`` and ``qualities`` of each.
        shown: For each photo its name, the files of its pictures by task, and what was found.
    """
    style = f"'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'"
    first, second = (escape(name) for name in names)
    rows = ''.join(_summary_row(task, one) for task, one in summary['tasks'].items())
    cards = ''.join(_card(*photo, (first, second)) for photo in shown)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src 'self' file:; style-src {style}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{first} and {second}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>{first} and {second}</h1>
<p>{summary['num_photos']} photos, the most different first; {len(shown)} are shown,
<a href="comparison.json">comparison.json</a> has the numbers of all.</p>
<table><thead><tr><th>mean over the photos</th><th>pixels that differ</th><th>{first}</th><th>{second}</th></tr></thead>
<tbody>{rows}</tbody></table>
</header>
<main>
{cards}</main>
</body>
</html>
"""


def describe_quality(task: str, value: float | None) -> str:
    """Return a quality with its name, or a dash."""
    return '-' if value is None else f'{QUALITIES[task]} {value:.1f}'


def _summary_row(task: str, one: Mapping[str, Any]) -> str:
    cells = [describe_quality(task, value) for value in one['qualities'] or (None, None)]
    return f'<tr><th>{task}</th><td>{one["share"]:.1%}</td><td>{cells[0]}</td><td>{cells[1]}</td></tr>'


def _card(name: str, pictures: Mapping[str, str], compared: Sequence[Compared], models: tuple[str, str]) -> str:
    """Return the HTML of one photo; the names of the models are escaped already."""
    sheets = ''.join(_sheet(pictures[one.task], one, models) for one in compared)
    return f'<article>\n<h2>{escape(name)}</h2>\n{sheets}</article>\n'


def _sheet(picture: str, one: Compared, models: tuple[str, str]) -> str:
    quality = ''
    if one.qualities is not None and one.qualities[0] is not None:
        quality = (
            f' · {describe_quality(one.task, one.qualities[0])} and {describe_quality(one.task, one.qualities[1])}'
        )
    rows = ''.join(
        f'<tr><th>{number}</th><td>{region.share:.1%}</td><td>{escape(region.first)}</td>'
        f'<td>{escape(region.second)}</td></tr>'
        for number, region in enumerate(one.regions, start=1)
    )
    table = ''
    if rows:
        table = (
            f'<table><thead><tr><th>box</th><th>of the photo</th><th>{models[0]}</th><th>{models[1]}</th></tr></thead>'
            f'<tbody>{rows}</tbody></table>'
        )
    return f"""<h3>{one.task} <span>{one.share:.1%} of the pixels differ{quality}</span></h3>
<div class="sheet"><a href="{picture}"><img src="{picture}" loading="lazy" alt="{one.task} answers"></a></div>
{table}
"""
