"""The photos that differ most, while all of them pass by."""

import heapq
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...files import write_atomic
from .compared import Compared
from .page import comparison_page
from .quality import mean


class Gallery:
    """Takes photo after photo and keeps the pictures of the most different ones, as JPEGs in memory.

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
        """Note a photo; ``draw`` is called for each task if the photo is among the most different so far."""
        number, share = len(self._photos), float(np.mean([one.share for one in compared]))
        self._photos.append({'photo': name, 'share': share} | {one.task: _plain(one) for one in compared})
        self._compared.append(compared)
        if len(self._kept) < self.most or share > self._kept[0][0]:
            # Of equals the earlier stays: its negative number is the larger.
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
                'qualities': [mean(side) for side in zip(*qualities)] if qualities else None,
            }
        return {'num_photos': len(self._photos), 'tasks': tasks}

    def write(self, folder: Path) -> Path:
        """Write ``index.html``, ``comparison.json`` and ``pictures``; those of an earlier page are removed.

        Returns:
            Path of the page.
        """
        pictures = folder / 'pictures'
        pictures.mkdir(parents=True, exist_ok=True)
        for old in pictures.iterdir():
            if re.fullmatch(r'\d{4}_(semantic|instance|panoptic)\.jpg', old.name):
                old.unlink()
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
