"""The page of the worst images: a folder with one HTML file and JPEGs, to be opened without a server or a network.

Decisions:
* Whatever comes from data (names of files and classes, ids) is escaped, and the page forbids by its content security
  policy every script and style but its own two, so that a crafted name stays a name.
* Pictures have numbers for names: those of photos may hold anything, and may repeat.
* Without JavaScript the page shows all images, the lowest PQ first; the script sorts and filters, nothing else. What is
  chosen stands in the address, ``#sort=fn&class=3``, so that it can be linked to.
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from ...errors import UserError
from ...files import atomic_path, write_atomic
from ...photos.decoding import read_photo
from ...visualization.colors import palette_colors
from ...visualization.errors import draw_errors
from ...visualization.overlay import draw_panoptic, enlarge
from ...visualization.samples import display_names
from .assets import SCRIPT, STYLE, html_page, picture_folder
from .records import Record

LONG_SIDE, THUMBNAIL = 1280, 320
"""Largest side of a picture, and width of its thumbnail, in pixels."""

OUTCOME_NAMES = {'fn': 'missed', 'fp': 'false', 'tp': 'matched', 'ignored': 'excused', 'crowd': 'crowd'}
VIEWS = ('photo', 'annotation', 'prediction', 'errors')


class Shown(NamedTuple):
    """An image of the page: its record, and the ids (H, W) of its annotated and predicted segments."""

    record: Record
    gt_map: np.ndarray
    pred_map: np.ndarray


def write_page(
    folder: Path,
    shown: Sequence[Shown],
    dataset_meta: Mapping[str, Any],
    counts: Sequence[Mapping[str, Any]],
    title: str,
    num_images: int,
) -> Path:
    """Draw the pictures and write ``index.html``; pictures of an earlier page are removed.

    Args:
        folder: Where to.
        shown: The images.
        dataset_meta: ``classes``, ``thing_ids`` and maybe ``palette``.
        counts: ``name``, ``tp``, ``fp`` and ``fn`` of each class over all images.
        title: Of the page.
        num_images: Of the data set.

    Returns:
        Path of the page.
    """
    pictures = picture_folder(folder, rf'\d+_({"|".join(VIEWS)})(_small)?\.jpg')
    ordered = sorted(shown, key=lambda one: 101.0 if one.record['quality'] is None else one.record['quality'])
    cards = []
    for number, one in enumerate(ordered, start=1):
        for view, picture in draw_views(one, dataset_meta).items():
            _save(pictures / f'{number:04}_{view}.jpg', picture)
            height = max(1, round(picture.shape[0] * THUMBNAIL / picture.shape[1]))
            small = cv2.resize(picture, (THUMBNAIL, height), interpolation=cv2.INTER_AREA)
            _save(pictures / f'{number:04}_{view}_small.jpg', small)
        cards.append(_card(number, one.record, dataset_meta['classes']))
    write_atomic(folder / 'index.html', _page(cards, ordered, counts, title, num_images))
    return folder / 'index.html'


def draw_views(shown: Shown, dataset_meta: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return photo, annotation, prediction and errors, each (H', W', 3) uint8 RGB; large photos are made smaller first.

    Raises:
        UserError: The photo cannot be read, or is not of the size of its annotation.
    """
    record, gt_map, pred_map = shown
    photo = cv2.cvtColor(read_photo(record['file']), cv2.COLOR_BGR2RGB)
    if photo.shape[:2] != gt_map.shape:
        state = f'is {photo.shape[:2]} pixels and its annotation {gt_map.shape}'
        raise UserError(f'{record["file"]} {state}; the report needs the photo that was annotated.')
    scale = min(1.0, LONG_SIDE / max(gt_map.shape))
    if scale < 1:
        size = tuple(max(1, round(side * scale)) for side in gt_map.shape[::-1])
        photo = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
        gt_map, pred_map = (cv2.resize(ids, size, interpolation=cv2.INTER_NEAREST_EXACT) for ids in (gt_map, pred_map))
    classes, things = display_names(dataset_meta['classes']), set(dataset_meta['thing_ids'])
    palette = palette_colors(dataset_meta)
    pictures = {'photo': enlarge(photo)[0]}
    for view, side, ids in (('annotation', 'annotated', gt_map), ('prediction', 'predicted', pred_map)):
        table = [
            {'id': segment[side]['id'], 'category_id': segment['class'], 'isthing': segment['class'] in things}
            for segment in record['segments']
            if segment[side]
        ]
        pictures[view] = draw_panoptic(photo, ids, table, classes, palette)
    return pictures | {'errors': draw_errors(photo, gt_map, pred_map, record['segments'], classes)}


def _save(path: Path, picture: np.ndarray) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(picture).save(temporary, quality=85)


def _page(
    cards: Sequence[str], shown: Sequence[Shown], counts: Sequence[Mapping[str, Any]], title: str, num_images: int
) -> str:
    """Return the HTML of the page."""
    wrong: dict[int, int] = {}
    for one in shown:
        for label in {s['class'] for s in one.record['segments'] if s['outcome'] in ('fp', 'fn')}:
            wrong[label] = wrong.get(label, 0) + 1
    options = ''.join(
        f'<option value="{label}">{escape(counts[label]["name"])} ({number})</option>'
        for label, number in sorted(wrong.items(), key=lambda item: (-item[1], item[0]))
    )
    totals = [sum(row[outcome] for row in counts) for outcome in ('tp', 'fp', 'fn')]
    rows = ''.join(
        f'<tr><th>{escape(row["name"])}</th>{"".join(f"<td>{row[key]}</td>" for key in ("tp", "fp", "fn"))}</tr>'
        for row in sorted(counts, key=lambda row: -row['fp'] - row['fn'])
        if row['tp'] or row['fp'] or row['fn']
    )
    title = escape(title or 'Segments')
    body = f"""<header>
<h1>{title}</h1>
<p>{num_images} images: {totals[0]} segments matched, {totals[1]} false, {totals[2]} missed.
{len(shown)} of the worst are shown; <a href="report.json">report.json</a> has all.</p>
<form>
<label>Sort by <select id="sort">
<option value="quality">lowest PQ</option>
<option value="fp">most false</option>
<option value="fn">most missed</option>
</select></label>
<label>Errors in <select id="class"><option value="">any class</option>{options}</select></label>
<output id="count">{len(shown)} images</output>
</form>
<p class="legend"><i class="missed"></i>missed <i class="false"></i>false <i class="confused"></i>wrong class</p>
</header>
<details><summary>Classes of all images</summary>
<table><thead><tr><th>class</th><th>matched</th><th>false</th><th>missed</th></tr></thead><tbody>{rows}</tbody></table>
</details>
<main id="images">
{''.join(cards)}</main>
"""
    return html_page(f'{title}: worst images', body, STYLE, SCRIPT)


def _card(number: int, record: Record, classes: Sequence[str]) -> str:
    """Return the HTML of one image."""
    quality = '-' if record['quality'] is None else f'{record["quality"]:.1f}'
    wrong = {segment['class'] for segment in record['segments'] if segment['outcome'] in ('fp', 'fn')}
    figures = ''.join(
        f'<figure><a href="pictures/{number:04}_{view}.jpg"><img src="pictures/{number:04}_{view}_small.jpg" '
        f'width="{THUMBNAIL}" height="{max(1, round(THUMBNAIL * record["height"] / record["width"]))}" loading="lazy" '
        f'alt="{view}"></a><figcaption>{view}</figcaption></figure>'
        for view in VIEWS
    )
    by_outcome = sorted(record['segments'], key=lambda segment: list(OUTCOME_NAMES).index(segment['outcome']))
    rows = ''.join(_row(segment, classes) for segment in by_outcome)
    sorting = f'data-quality="{101 if record["quality"] is None else record["quality"]}"'
    sorting += f' data-fp="{record["fp"]}" data-fn="{record["fn"]}" data-classes="{" ".join(map(str, sorted(wrong)))}"'
    return f"""<article {sorting}>
<h2>{escape(Path(record['file']).name)}</h2>
<p title="{escape(record['file'])}">PQ {quality} · {record['tp']} matched · {record['fp']} false · \
{record['fn']} missed</p>
<div class="views">{figures}</div>
<details><summary>{len(record['segments'])} segments</summary><table>
<thead><tr><th>segment</th><th></th><th>IoU</th><th>pixels</th><th>nearest</th></tr></thead><tbody>{rows}</tbody>
</table></details>
</article>
"""


def _row(segment: Mapping[str, Any], classes: Sequence[str]) -> str:
    """Return a row of the table of segments."""
    nearest = '' if segment['nearest'] is None else classes[segment['nearest']['class']]
    place = segment['annotated'] or segment['predicted']
    name = OUTCOME_NAMES[segment['outcome']]
    return (
        f'<tr class="{segment["outcome"]}"><th>{escape(classes[segment["class"]])}</th><td>{name}</td>'
        f'<td>{segment["iou"]:.2f}</td><td>{place["area"]}</td><td>{escape(nearest)}</td></tr>'
    )
