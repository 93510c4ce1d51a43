"""The files that the page offers for download, of one prediction or of all three together."""

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..apis.results import OneFormerResult
from ..apis.results.exports import class_map, coco_categories, coco_image, encode_png
from ..tasks import TASKS

__all__ = ['EXPORTS', 'Export', 'archive']


class Export(NamedTuple):
    """One kind of file."""

    form: str
    """Its part of the URL."""
    title: str
    tasks: tuple[str, ...]
    suffix: str
    """Comes after ``<photo>_<task>``; COCO's JSON names its PNG, so these are as in ``result.save``."""
    media_type: str
    make: Callable[[OneFormerResult, str, float], bytes]
    """Makes the content from result, task and minimum score of instances."""


def archive(result: OneFormerResult, score_thr: float) -> bytes:
    """Return a zip with every file of a result that has all three predictions."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w', zipfile.ZIP_DEFLATED) as file:
        for task in TASKS:
            for one in EXPORTS:
                if task in one.tasks:
                    file.writestr(f'{result.source.name}_{task}{one.suffix}', one.make(result, task, score_thr))
    return stream.getvalue()


def _json(content: Any) -> bytes:
    return json.dumps(content).encode()


def _class_indices(result: OneFormerResult) -> bytes:
    assert result.semantic is not None
    return encode_png(class_map(result.semantic, len(result.classes)))


def _coco_panoptic(result: OneFormerResult) -> bytes:
    image = coco_image(1, result.source.file_name, result.size)
    categories = coco_categories(result.dataset_meta)
    return _json({'images': [image], 'annotations': [result.to_coco_panoptic()[1]], 'categories': categories})


def _least(task: str, score_thr: float) -> float | None:
    """Return the minimum score of a task's regions: the page hides instances below it, but no panoptic segments."""
    return score_thr if task == 'instance' else None


def _coco_instances(result: OneFormerResult, score_thr: float) -> bytes:
    return _json([one for one in result.to_coco_instances() if one['score'] >= score_thr])


EXPORTS: Sequence[Export] = (
    Export(
        'picture',
        'Picture',
        TASKS,
        '_overlay.png',
        'image/png',
        lambda result, task, thr: encode_png(result.plot(task, thr)),
    ),
    Export(
        'labels', 'Class of each pixel', ('semantic',), '.png', 'image/png', lambda result, *_: _class_indices(result)
    ),
    Export(
        'coco-panoptic-png',
        'COCO panoptic: ids',
        ('panoptic',),
        '.png',
        'image/png',
        lambda result, *_: encode_png(result.to_coco_panoptic()[0]),
    ),
    Export(
        'coco-panoptic-json',
        'COCO panoptic: segments',
        ('panoptic',),
        '.json',
        'application/json',
        lambda result, *_: _coco_panoptic(result),
    ),
    Export(
        'coco-instances',
        'COCO instances',
        ('instance',),
        '.json',
        'application/json',
        lambda result, _, thr: _coco_instances(result, thr),
    ),
    Export(
        'labelme',
        'labelme',
        TASKS,
        '_labelme.json',
        'application/json',
        lambda result, task, thr: _json(result.to_labelme(task, _least(task, thr))),
    ),
    Export(
        'geojson',
        'GeoJSON, in pixels',
        TASKS,
        '.geojson',
        'application/geo+json',
        lambda result, task, thr: _json(result.to_geojson(task, _least(task, thr))),
    ),
)
