"""Answers as JSON: what ``/predict`` sends, and what the page draws."""

import base64
import io
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ..apis.results import OneFormerResult
from ..apis.results.regions import regions
from ..run_lengths import encode_masks
from ..tasks import TASKS
from ..visualization import instance_color

__all__ = ['EXPORTS', 'export', 'page_answers', 'predictions']


def predictions(result: OneFormerResult) -> dict[str, Any]:
    """COCO's forms of every answer there is, by task.

    * semantic: ``png``, base64 of an 8-bit (16-bit from 257 classes on) map of class indices;
    * instance: COCO's results, a list of ``category_id, segmentation (RLE), bbox, score``;
    * panoptic: ``png``, base64 of COCO's panoptic picture, and ``segments_info``.
    """
    answers: dict[str, Any] = {}
    if result.semantic is not None:
        dtype = np.uint8 if len(result.classes) <= 256 else np.uint16
        answers['semantic'] = {'png': _base64_png(result.semantic.astype(dtype))}
    if result.instances is not None:
        answers['instance'] = [
            {key: value for key, value in one.items() if key != 'image_id'} for one in result.to_coco_instances()
        ]
    if result.panoptic is not None:
        picture, annotation = result.to_coco_panoptic()
        answers['panoptic'] = {'png': _base64_png(picture), 'segments_info': annotation['segments_info']}
    return answers


def page_answers(result: OneFormerResult, score_thr: float = 0.1) -> dict[str, Any]:
    """Segments with names, scores and colours, and where they are.

    For the semantic and the panoptic answer ``map`` is a PNG (data URL) whose pixels are segment numbers R + 256 G, 0
    for none. Instances overlap, so each has a ``mask``, COCO's run-length code; those below ``score_thr`` are left out.
    """
    colors = result.colors
    answers: dict[str, Any] = {}
    for task in result.tasks:
        segments, count = [], dict.fromkeys(range(len(colors)), 0)
        numbers = np.zeros((*result.size, 3), np.uint8)
        for number, region in enumerate(regions(result.sample, task, result.dataset_meta, score_thr), start=1):
            index = count[region.label] if region.is_thing and task != 'semantic' else 0
            count[region.label] += 1
            segment = {'name': region.name, 'label': region.label, 'score': region.score}
            segment['color'] = instance_color(colors[region.label], index)
            if task == 'instance':
                segment['mask'] = {'counts': encode_masks(region.mask[None])[0]['counts'].decode()}
            numbers[region.mask] = (number % 256, number // 256, 0)
            segments.append(segment)
        answers[task] = {'segments': segments}
        if task != 'instance':
            answers[task]['map'] = f'data:image/png;base64,{_base64_png(numbers)}'
    return answers


def _base64_png(array: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, format='PNG')
    return base64.b64encode(stream.getvalue()).decode()


class Export(NamedTuple):
    """A file that the page offers."""

    title: str
    tasks: tuple[str, ...]
    suffix: str
    media_type: str
    make: Callable[[OneFormerResult, str, float], bytes]
    """Of result, task and least score of instances."""


def export(form: str, result: OneFormerResult, task: str, score_thr: float) -> bytes:
    """Content of one file of ``EXPORTS``."""
    return EXPORTS[form].make(result, task, score_thr)


def _json(content: Any) -> bytes:
    return json.dumps(content).encode()


def _png(array: np.ndarray) -> bytes:
    return base64.b64decode(_base64_png(array))


EXPORTS = {
    'picture': Export(
        'picture', TASKS, '.png', 'image/png', lambda result, task, score_thr: _png(result.plot(task, score_thr))
    ),
    'labels': Export(
        'class indices (PNG)',
        ('semantic',),
        '.png',
        'image/png',
        lambda result, task, score_thr: _png(np.asarray(result.semantic).astype(np.uint16)),
    ),
    'coco-panoptic': Export(
        "COCO's panoptic picture (PNG)",
        ('panoptic',),
        '.png',
        'image/png',
        lambda result, task, score_thr: _png(result.to_coco_panoptic()[0]),
    ),
    'coco-segments': Export(
        "COCO's panoptic segments (JSON)",
        ('panoptic',),
        '.json',
        'application/json',
        lambda result, task, score_thr: _json(result.to_coco_panoptic()[1]),
    ),
    'coco-instances': Export(
        "COCO's instances (JSON)",
        ('instance',),
        '.json',
        'application/json',
        lambda result, task, score_thr: _json([one for one in result.to_coco_instances() if one['score'] >= score_thr]),
    ),
    'labelme': Export(
        'labelme (JSON)',
        TASKS,
        '.json',
        'application/json',
        lambda result, task, score_thr: _json(result.to_labelme(task, score_thr)),
    ),
    'geojson': Export(
        'GeoJSON, in pixels',
        TASKS,
        '.geojson',
        'application/geo+json',
        lambda result, task, score_thr: _json(result.to_geojson(task, score_thr)),
    ),
}
