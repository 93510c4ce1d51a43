"""The page of a comparison: the photos that differ most, as pictures and HTML that need no server and no network."""

import heapq
import io
import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.structures import BaseDataElement
from PIL import Image

from ...apis import OneFormerResult
from ...evaluation.ground_truth import PanopticTruth, panoptic_truth
from ...evaluation.report.assets import STYLE as BASE
from ...evaluation.report.assets import html_page, picture_folder
from ...files import write_atomic
from ...visualization.boxes import draw_boxes
from ...visualization.colors import palette_colors
from ...visualization.overlay import draw_panoptic, draw_semantic, enlarge
from ...visualization.panel import panel
from ...visualization.samples import display_names
from .measure import Compared, describe_quality, truth_labels

HEIGHT = 400
"""Height of each picture on a page, in pixels."""
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


class Gallery:
    """Takes one photo after another and keeps the pictures of the most different ones, as JPEGs in memory.

    Args:
        names: Of the two models.
        most: Photos on the page.
    """

    def __init__(self, names: Sequence[str], most: int) -> None:
        self.names, self.most = tuple(names), most
        self._photos: list[dict[str, Any]] = []
        self._compared: list[Sequence[Compared]] = []
        self._kept: list[tuple[float, int, dict[str, bytes]]] = []  # a heap, the least different on top

    def add(self, name: str, compared: Sequence[Compared], draw: Callable[[Compared], np.ndarray]) -> None:
        """Add a photo; ``draw`` is called for each task if the photo is among the most different so far."""
        number, share = len(self._photos), float(np.mean([one.share for one in compared]))
        self._photos.append({'photo': name, 'share': share} | {one.task: _plain(one) for one in compared})
        self._compared.append(compared)
        if len(self._kept) < self.most or share > self._kept[0][0]:
            # On a tie the earlier one stays: its negative number is larger.
            heapq.heappush(self._kept, (share, -number, {one.task: _jpeg(draw(one)) for one in compared}))
            if len(self._kept) > self.most:
                heapq.heappop(self._kept)

    def summary(self) -> dict[str, Any]:
        """Return ``num_photos``, and ``tasks`` with mean ``share`` (0..1) and mean ``qualities`` (0-100) of each."""
        tasks: dict[str, Any] = {}
        for number, one in enumerate(self._compared[0] if self._compared else ()):
            column = [compared[number] for compared in self._compared]
            qualities = [one.qualities for one in column if one.qualities is not None]
            tasks[one.task] = {
                'share': float(np.mean([one.share for one in column])),
                'qualities': [_mean(side) for side in zip(*qualities)] if qualities else None,
            }
        return {'num_photos': len(self._photos), 'tasks': tasks}

    def write(self, folder: Path) -> Path:
        """Write ``index.html``, ``comparison.json`` and ``pictures``; those of an earlier page are removed.

        Returns:
            Path of the page.
        """
        picture_folder(folder, r'\d{4}_(semantic|instance|panoptic)\.jpg')
        shown = []
        for rank, (_, negative, files) in enumerate(sorted(self._kept, reverse=True), start=1):
            paths: Mapping[str, str] = {task: f'pictures/{rank:04}_{task}.jpg' for task in files}
            for task, jpeg in files.items():
                write_atomic(folder / paths[task], jpeg)
            shown.append((self._photos[-negative]['photo'], paths, self._compared[-negative]))
        summary = self.summary()
        photos = sorted(self._photos, key=lambda photo: -photo['share'])
        content = {'schema': 1, 'models': self.names, **summary, 'photos': photos}
        write_atomic(folder / 'comparison.json', json.dumps(content, indent=1) + '\n')
        write_atomic(folder / 'index.html', comparison_page(self.names, summary, shown))
        return folder / 'index.html'


def _plain(one: Compared) -> dict[str, Any]:
    return {
        'share': one.share,
        'qualities': one.qualities,
        'regions': [region._asdict() for region in one.regions],
    }


def _jpeg(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, 'JPEG', quality=88)
    return buffer.getvalue()


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of the known values, or None if there are none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def draw_compared(
    predictions: Sequence[OneFormerResult],
    names: Sequence[str],
    compared: Compared,
    truth: BaseDataElement | None = None,
    score_thr: float = 0.5,
) -> np.ndarray:
    """Draw photo, annotation if it is known, and both predictions, with boxes where these differ (paper, Figure 5).

    Args:
        predictions: Of the two models.
        names: Of the two models.
        compared: The differences.
        truth: A data sample with a panoptic annotation.
        score_thr: Instances below are not drawn.

    Returns:
        The page, (H', W', 3) uint8 RGB.
    """
    first = predictions[0]
    photo = np.ascontiguousarray(first.image[:, :, ::-1])
    pictures = {'photo': enlarge(photo)[0]}
    if truth is not None:
        pictures['annotation'] = draw_annotation(
            photo, panoptic_truth(truth.to_dict()), compared.task, first.dataset_meta
        )
    for name, prediction in zip(names, predictions):
        pictures[name] = prediction.plot(compared.task, score_thr)
    boxes = [region.box for region in compared.regions]
    return panel({title: draw_boxes(one, boxes, first.size) for title, one in pictures.items()}, height=HEIGHT)


def draw_annotation(photo: np.ndarray, truth: PanopticTruth, task: str, meta: Mapping[str, Any]) -> np.ndarray:
    """Draw the ground truth of a task, (H', W', 3) uint8 RGB, from a panoptic annotation."""
    classes, palette = display_names(meta['classes']), palette_colors(meta)
    if task == 'semantic':
        return draw_semantic(photo, truth_labels(truth), classes, palette)
    wanted = [
        (number, one)
        for number, one in enumerate(truth.segments, start=1)
        if task == 'panoptic' or (one['isthing'] and not one['iscrowd'])  # an instance is neither stuff nor a crowd
    ]
    table = [{'id': number, 'category_id': one['label'], 'isthing': one['isthing']} for number, one in wanted]
    return draw_panoptic(photo, truth.index_map, table, classes, palette)


def comparison_page(
    names: Sequence[str], summary: Mapping[str, Any], shown: Sequence[tuple[str, Mapping[str, str], Sequence[Compared]]]
) -> str:
    """Return the HTML.

    Args:
        names: Of the two models.
        summary: ``num_photos``, and ``tasks`` with ``share`` and ``qualities`` of each.
        shown: For each photo its name, the files of its pictures by task, and the differences.
    """
    first, second = (escape(name) for name in names)
    rows = ''.join(_summary_row(task, one) for task, one in summary['tasks'].items())
    cards = ''.join(_card(*photo, (first, second)) for photo in shown)
    body = f"""<header>
<h1>{first} and {second}</h1>
<p>{summary['num_photos']} photos, the most different first; {len(shown)} are shown,
<a href="comparison.json">comparison.json</a> has the numbers of all.</p>
<table><thead><tr><th>mean over the photos</th><th>pixels that differ</th><th>{first}</th><th>{second}</th></tr></thead>
<tbody>{rows}</tbody></table>
</header>
<main>
{cards}</main>
"""
    return html_page(f'{first} and {second}', body, STYLE)


def _summary_row(task: str, one: Mapping[str, Any]) -> str:
    cells = [describe_quality(task, value) for value in one['qualities'] or (None, None)]
    return f'<tr><th>{task}</th><td>{one["share"]:.1%}</td><td>{cells[0]}</td><td>{cells[1]}</td></tr>'


def _card(name: str, pictures: Mapping[str, str], compared: Sequence[Compared], models: tuple[str, str]) -> str:
    """Return the HTML of one photo; the names of the models are already escaped."""
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
<div class="sheet"><a href="{picture}"><img src="{picture}" loading="lazy" alt="{one.task} predictions"></a></div>
{table}
"""
