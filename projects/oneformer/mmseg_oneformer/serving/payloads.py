"""Answers as JSON: what ``/predict`` sends."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from ..apis.results import OneFormerResult

__all__ = ['predictions']


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


def _base64_png(array: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, format='PNG')
    return base64.b64encode(stream.getvalue()).decode()
