"""The types of requests and responses: options of a request, predictions in COCO's formats, and all other responses.

The OpenAPI description of the service is generated from these types, so it always matches what is accepted and sent.
"""

import base64
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from ..apis.results import OneFormerResult
from ..apis.results.exports import category_ids, class_map, encode_png

__all__ = ['ClassInfo', 'ErrorMessage', 'Health', 'Prediction', 'RequestOptions', 'Task', 'class_infos', 'prediction']

Task = Literal['semantic', 'instance', 'panoptic']
CategoryId = Field(description="the class's number in the data set, which COCO's formats use; see /classes")
Name = Field(description='of the class')
Box = Field(description='left, top, width, height in pixels', min_length=4, max_length=4)
Score = Field(ge=0, le=1)


@dataclass(frozen=True)
class RequestOptions:
    """What :meth:`PhotoLogits.predict` takes, from the query of a request: ``Annotated[..., Depends()]`` of a route."""

    token: Annotated[
        Task | None, Query(description="make all predictions from this task's token; by default each has its own")
    ] = None
    object_mask_thr: Annotated[
        float | None, Query(ge=0, le=1, description="least score of a panoptic segment; by default the config's")
    ] = None
    overlap_thr: Annotated[
        float | None,
        Query(ge=0, le=1, description="least share of its mask that a panoptic segment has to win; the config's"),
    ] = None


class ErrorMessage(BaseModel):
    """Why there is no prediction."""

    detail: str = Field(description='a sentence with the remedy')


class Health(BaseModel):
    """The service is ready: the model is loaded and has predicted for a picture."""

    status: str = Field(description='"ok"')
    model: str
    version: str = Field(description='of mmseg_oneformer')
    device: str = Field(description='such as cpu or cuda:0')
    max_batch: int = Field(description='photos that go through the network together at most')
    uploads: int = Field(description='photos that arrive')
    waiting: int = Field(description='requests whose photo has arrived and that have no response yet')
    max_waiting: int = Field(description='more are rejected with status 503')
    photos: int = Field(description='photos that went through the network so far')
    batches: int = Field(description='passes through the network so far')


class ClassInfo(BaseModel):
    """A class that the model knows."""

    index: int = Field(description='its value in the semantic PNG')
    category_id: int = CategoryId
    name: str
    is_thing: bool = Field(description='countable, such as a car; else stuff, such as the sky')
    color: tuple[int, int, int] = Field(description='red, green, blue in 0..255')


class SemanticClass(BaseModel):
    """A class in a semantic prediction."""

    index: int = Field(description='its value in the PNG')
    category_id: int = CategoryId
    name: str = Name
    area: int = Field(description='pixels')


class SemanticPrediction(BaseModel):
    """The class of each pixel."""

    png: str = Field(description='base64 of a grey PNG of class indices, 8 bits, or 16 for more than 256 classes')
    classes: list[SemanticClass] = Field(description='those that are in it')


class RunLengths(BaseModel):
    """A mask as COCO's run-length code, for pycocotools.mask.decode."""

    size: list[int] = Field(description='height, width', min_length=2, max_length=2)
    counts: str


class InstancePrediction(BaseModel):
    """An object, in COCO's results format; the best come first, and they may overlap."""

    category_id: int = CategoryId
    name: str = Name
    score: float = Score
    bbox: list[float] = Box
    segmentation: RunLengths


class PanopticSegment(BaseModel):
    """A segment, in COCO's panoptic format."""

    id: int = Field(description='its colour in the PNG: R + 256 G + 65536 B')
    category_id: int = CategoryId
    name: str = Name
    isthing: bool
    iscrowd: int
    area: int = Field(description='pixels')
    bbox: list[int] = Box
    score: float = Score


class PanopticPrediction(BaseModel):
    """Each pixel's segment, in COCO's panoptic format."""

    png: str = Field(description='base64 of a PNG whose colours are segment ids; black is void')
    segments_info: list[PanopticSegment]


EXAMPLE: dict[str, Any] = {
    'model': 'oneformer_r18-narrow_1xb16-6k_shapes-96x96',
    'width': 4,
    'height': 3,
    'semantic': {
        'png': 'iVBORw0KGgoAAAANSUhEUgAAAAQAAAADCAAAAACRn/EaAAAAF0lEQVR4nGNgYGBgYGRkYvjHxMDAwAAABjABBc6Uzd0AAAAA'
        'SUVORK5CYII=',
        'classes': [
            {'index': 0, 'category_id': 0, 'name': 'sky', 'area': 4},
            {'index': 1, 'category_id': 1, 'name': 'grass', 'area': 4},
            {'index': 3, 'category_id': 3, 'name': 'ball', 'area': 4},
        ],
    },
    'instance': [
        {
            'category_id': 3,
            'name': 'ball',
            'score': 0.976848,
            'bbox': [1.0, 1.0, 2.0, 2.0],
            'segmentation': {'size': [3, 4], 'counts': '42102'},
        }
    ],
}
"""A prediction for a photo of 4 x 3 pixels: a ball on grass, below the sky."""


class Prediction(BaseModel):
    """The predictions for one photo; a task that was not requested is left out."""

    model_config = ConfigDict(json_schema_extra={'example': EXAMPLE})
    model: str
    width: int = Field(description='of the photo, turned as its EXIF orientation says')
    height: int
    semantic: SemanticPrediction | None = None
    instance: list[InstancePrediction] | None = None
    panoptic: PanopticPrediction | None = None


def prediction(result: OneFormerResult, model: str, score_thr: float) -> Prediction:
    """Return what ``/predict`` sends.

    Args:
        result: The predictions.
        model: Its name.
        score_thr: Instances with a lower score are left out.
    """
    height, width = result.size
    sent = Prediction(model=model, width=width, height=height)
    infos = class_infos(result.dataset_meta, result.colors)
    names = {info.category_id: info.name for info in infos}
    if result.semantic is not None:
        areas = np.bincount(result.semantic.reshape(-1), minlength=len(infos)).tolist()
        classes = [
            SemanticClass(index=info.index, category_id=info.category_id, name=info.name, area=area)
            for info, area in zip(infos, areas)
            if area
        ]
        sent.semantic = SemanticPrediction(png=_base64_png(class_map(result.semantic, len(infos))), classes=classes)
    if result.instances is not None:
        sent.instance = [
            InstancePrediction(name=names[one['category_id']], **one)
            for one in result.to_coco_instances()
            if one['score'] >= score_thr
        ]
    if result.panoptic is not None:
        picture, annotation = result.to_coco_panoptic()
        segments = [
            PanopticSegment(name=segment.name, isthing=segment.is_thing, **one)
            for segment, one in zip(result.panoptic.segments, annotation['segments_info'], strict=True)
        ]
        sent.panoptic = PanopticPrediction(png=_base64_png(picture), segments_info=segments)
    return sent


def class_infos(dataset_meta: Any, colors: Any) -> list[ClassInfo]:
    """Return the classes of a model.

    Args:
        dataset_meta: ``classes``, ``thing_ids`` and, optionally, ``category_ids``.
        colors: Red, green, blue of each class.
    """
    classes, things = dataset_meta['classes'], set(dataset_meta['thing_ids'])
    numbers = category_ids(dataset_meta)
    return [
        ClassInfo(index=index, category_id=number, name=name, is_thing=index in things, color=tuple(color))
        for index, (name, number, color) in enumerate(zip(classes, numbers, colors, strict=True))
    ]


def _base64_png(array: np.ndarray) -> str:
    return base64.b64encode(encode_png(array)).decode()
