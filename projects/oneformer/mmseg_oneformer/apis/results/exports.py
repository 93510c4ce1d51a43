"""Predictions in the forms of other tools. Each function returns what those tools read; nothing is written."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from mmengine.structures import BaseDataElement
from PIL import Image
from pycocotools import mask as mask_api

from ...errors import UserError
from ...mask_outlines import Outline, mask_outlines
from ...run_lengths import encode_masks
from ...visualization.colors import Color, instance_color, palette_colors
from .regions import Region

if TYPE_CHECKING:
    from supervision import Detections

__all__ = [
    'category_ids',
    'class_map',
    'coco_categories',
    'coco_image',
    'coco_instances',
    'coco_panoptic',
    'encode_png',
    'geojson',
    'labelme',
    'supervision_detections',
]


def encode_png(picture: np.ndarray) -> bytes:
    """Return a PNG of (H, W, 3) uint8 RGB, or of (H, W) uint8, uint16 or bool."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format='PNG')
    return stream.getvalue()


def class_map(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return class indices (H, W) as a grey picture: uint8, or uint16 for more than 256 classes."""
    return labels.astype(np.uint8 if num_classes <= 256 else np.uint16)


def coco_image(image_id: int, file_name: str, size: tuple[int, int]) -> dict[str, Any]:
    """Return COCO's entry of an image of ``size`` (height, width)."""
    return {'id': image_id, 'file_name': file_name, 'width': size[1], 'height': size[0]}


def coco_panoptic(
    prediction: BaseDataElement, dataset_meta: Mapping[str, Any], image_id: int, name: str
) -> tuple[np.ndarray, dict[str, Any]]:
    """COCO's panoptic format of one image.

    Args:
        prediction: A ``pred_panoptic_seg``.
        dataset_meta: ``classes`` and, if wished, ``palette`` and ``category_ids`` (0 to K-1 by default).
        image_id: The annotation's.
        name: The PNG's name in the annotation is ``<name>_panoptic.png``.

    Returns:
        The picture (H, W, 3) uint8 RGB, whose colours are ids, R + 256 G + 65536 B, and look like their classes; 0 is
        void. And the annotation, with ``segments_info``.
    """
    colors = palette_colors(dataset_meta)
    numbers = category_ids(dataset_meta)
    ids = prediction.sem_seg[0].numpy()
    picture, segments = np.zeros((*ids.shape, 3), np.uint8), []
    used: set[Color] = {(0, 0, 0)}
    count: dict[int, int] = {}
    for info in prediction.segments_info:
        label, mask = info['category_id'], ids == info['id']
        color = _free_color(colors[label], label, count, used)
        picture[mask] = color
        segments.append(
            {
                'id': color[0] + 256 * color[1] + 65536 * color[2],
                'category_id': numbers[label],
                'iscrowd': 0,
                'area': int(mask.sum()),
                'bbox': _box(mask),
                'score': round(float(info['score']), 6),
            }
        )
    return picture, {'image_id': image_id, 'file_name': f'{name}_panoptic.png', 'segments_info': segments}


def coco_instances(prediction: BaseDataElement, dataset_meta: Mapping[str, Any], image_id: int) -> list[dict[str, Any]]:
    """COCO's results format: one dict an instance with run-length encoded mask, box (x, y, w, h) and score.

    Args:
        prediction: A ``pred_instances``; empty masks are left out.
        dataset_meta: ``classes`` and, if wished, ``category_ids`` (0 to K-1 by default).
        image_id: Of each result.
    """
    numbers, results = category_ids(dataset_meta), []
    for label, score, box, mask in zip(prediction.labels, prediction.scores, prediction.bboxes, prediction.masks):
        code = mask if isinstance(mask, Mapping) else encode_masks(mask[None])[0]
        if not mask_api.area(code):
            continue
        left, top, right, bottom = box.tolist()
        results.append(
            {
                'image_id': image_id,
                'category_id': numbers[int(label)],
                'segmentation': {'size': list(code['size']), 'counts': code['counts'].decode()},
                'bbox': [left, top, right - left, bottom - top],
                'score': round(float(score), 6),
            }
        )
    return results


def category_ids(dataset_meta: Mapping[str, Any]) -> Sequence[int]:
    """Each class's number in COCO's formats: the meta's ``category_ids``, else 0 to K-1."""
    return tuple(dataset_meta.get('category_ids', range(len(dataset_meta['classes']))))


def coco_categories(dataset_meta: Mapping[str, Any]) -> list[dict[str, Any]]:
    """COCO's categories: ``id, name, isthing, color`` of each class."""
    colors, things = palette_colors(dataset_meta), set(dataset_meta.get('thing_ids', ()))
    return [
        {'id': number, 'name': name, 'isthing': int(k in things), 'color': list(colors[k])}
        for k, (number, name) in enumerate(zip(category_ids(dataset_meta), dataset_meta['classes'], strict=True))
    ]


def labelme(regions: Iterable[Region], file_name: str, size: tuple[int, int]) -> dict[str, Any]:
    """Content of a labelme file: a polygon for each part of a region; a mask where it has holes.

    Parts of one region share a ``group_id``. The photo itself is not in it: keep it beside the JSON.

    Args:
        regions: Of one prediction.
        file_name: Of the photo.
        size: Its height and width.
    """
    shapes = []
    for number, region in enumerate(regions, start=1):
        outlines = mask_outlines(region.mask)
        is_plain = not any(outline.holes for outline in outlines)
        parts = [_polygon_shape(outline) for outline in outlines] if is_plain else [_mask_shape(region.mask)]
        score = {} if region.score is None else {'description': f'score {region.score:.3f}'}
        shapes += [{'label': region.name, 'group_id': number, 'flags': {}, **score, **part} for part in parts]
    return {
        'version': '5.5.0',
        'flags': {},
        'shapes': shapes,
        'imagePath': file_name,
        'imageData': None,
        'imageHeight': size[0],
        'imageWidth': size[1],
    }


def geojson(regions: Iterable[Region]) -> dict[str, Any]:
    """GeoJSON's FeatureCollection: a MultiPolygon for each region, in pixels with y pointing down.

    A feature's properties are ``label``, ``name``, ``is_thing``, ``score`` (null for the semantic prediction) and
    ``area`` in pixels. Rings are closed, exteriors run counterclockwise and holes clockwise, as RFC 7946 wants them.
    """
    features = []
    for region in regions:
        polygons = [
            [_ring(outline.exterior, 1), *(_ring(hole, -1) for hole in outline.holes)]
            for outline in mask_outlines(region.mask)
        ]
        properties = {
            'label': region.label,
            'name': region.name,
            'is_thing': region.is_thing,
            'score': region.score,
            'area': int(region.mask.sum()),
        }
        geometry = {'type': 'MultiPolygon', 'coordinates': polygons}
        features.append({'type': 'Feature', 'properties': properties, 'geometry': geometry})
    return {'type': 'FeatureCollection', 'features': features}


def supervision_detections(regions: Iterable[Region], size: tuple[int, int]) -> 'Detections':
    """``supervision.Detections`` with masks, boxes, class ids, scores and ``data['class_name']``.

    The semantic prediction has no scores: ``confidence`` is None.

    Args:
        regions: Of one prediction.
        size: Height and width of the photo.

    Raises:
        UserError: If supervision is not installed.
    """
    try:
        from supervision import Detections
    except ImportError as error:
        raise UserError('supervision is not installed; run: pip install supervision') from error
    found = list(regions)
    boxes = [_box(region.mask) for region in found]
    scores = [region.score for region in found if region.score is not None]
    return Detections(
        xyxy=np.array([(x, y, x + w, y + h) for x, y, w, h in boxes], np.float32).reshape(-1, 4),
        mask=np.array([region.mask for region in found], bool).reshape(-1, *size),
        confidence=np.array(scores, np.float32) if len(scores) == len(found) else None,
        class_id=np.array([region.label for region in found], int),
        data={'class_name': np.array([region.name for region in found], str)},
    )


def _polygon_shape(outline: Outline) -> dict[str, Any]:
    return {'shape_type': 'polygon', 'points': outline.exterior.astype(float).tolist()}


def _mask_shape(mask: np.ndarray) -> dict[str, Any]:
    """Return labelme's mask: its two corner pixels, and a PNG of what is between them."""
    left, top, width, height = _box(mask)
    inside = mask[top : top + height, left : left + width]
    return {
        'shape_type': 'mask',
        'points': [[left, top], [left + width - 1, top + height - 1]],
        'mask': base64.b64encode(encode_png(inside)).decode(),
    }


def _ring(corners: np.ndarray, direction: int) -> list[list[int]]:
    """Return a closed ring that runs counterclockwise (1) or clockwise (-1), as if y pointed up."""
    x, y = corners[:, 0], corners[:, 1]
    doubled_area = int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())
    ring = corners if doubled_area * direction > 0 else corners[::-1]
    return [*ring.tolist(), ring[0].tolist()]


def _free_color(base: Color, label: int, count: dict[int, int], used: set[Color]) -> Color:
    """Return the next shade of a class that no other segment of the image has, and note it."""
    while True:
        red, green, blue = instance_color(base, count.get(label, 0))
        # A grey class runs out of shades early; another blue is not seen.
        color = (red, green, (blue + count.get(label, 0) // 64) % 256)
        count[label] = count.get(label, 0) + 1
        if color not in used:
            used.add(color)
            return color


def _box(mask: np.ndarray) -> list[int]:
    """Return COCO's box (left, top, width, height) of a mask (H, W) bool with at least one pixel."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]
