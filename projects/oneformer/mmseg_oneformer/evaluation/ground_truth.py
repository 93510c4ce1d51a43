"""The annotations of a test sample, and of an instance file, as the metrics need them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from ..annotations.coco_instances import Object, outline_faults, read_instances
from ..annotations.faults import raise_faults
from ..annotations.values import InvalidValueError, as_number, brief
from ..errors import MissingFileError, UserError


class PanopticTruth(NamedTuple):
    """Panoptic annotation of one image.

    Attributes:
        index_map: (H, W) int32 at original size; 0 is void, k the k-th entry (from 1) of ``segments``.
        segments: One dict per segment: ``id`` (that of the JSON), ``label`` (class index), ``isthing``, ``iscrowd``.
    """

    index_map: np.ndarray
    segments: list[dict]


def describe(sample: Mapping[str, Any]) -> str:
    """Return how an error names an image."""
    return str(sample.get('img_path') or sample.get('img_id', '<unknown image>'))


def panoptic_truth(sample: Mapping[str, Any]) -> PanopticTruth:
    """Return the panoptic annotation of a data sample in its dict form.

    Raises:
        UserError: The sample carries no annotation, so nothing can be measured on it.
    """
    if 'gt_panoptic_seg' not in sample or 'segments_info' not in sample:
        raise UserError(
            f'{describe(sample)} has no panoptic annotation to compare with; put LoadPanopticIds into the test '
            'pipeline and name the annotation file of this split in test_dataloader.dataset.ann_file.'
        )
    return PanopticTruth(to_map(sample['gt_panoptic_seg']['sem_seg']), list(sample['segments_info']))


def to_map(values: Tensor | np.ndarray) -> np.ndarray:
    """Return a map (1, H, W) or (H, W), on any device, as an array (H, W)."""
    array = values.cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    return array.reshape(array.shape[-2:])


class InstanceTruth(NamedTuple):
    """Annotations of a COCO instance file, with our class indices.

    Attributes:
        sizes: (height, width) of each image by its id.
        annotations: COCO annotations (without ids) of each image by its id, of the requested classes.
    """

    sizes: dict[Any, tuple[int, int]]
    annotations: dict[Any, list[dict]]


def read_instance_truth(ann_file: str, names: Mapping[int, str]) -> InstanceTruth:
    """Read a COCO instance JSON, whose categories are found by name.

    Args:
        ann_file: The JSON.
        names: Name of each thing class by its index.

    Raises:
        FileNotFoundError: There is no such file.
        UserError: It is no instance JSON, or lacks the category of a class.
    """
    check_file(ann_file)
    file = read_instances(ann_file)
    raise_faults(ann_file, [*file.faults, *outline_faults(file)])
    ids = {category['name']: category['id'] for category in file.categories}
    if missing := sorted(set(names.values()) - set(ids)):
        raise UserError(f'{ann_file} has no category {missing[0]!r}; rename it there or in metainfo.classes.')
    label_of = {ids[name]: label for label, name in names.items()}
    sizes = {}
    for image in file.images:
        if 'height' not in image:
            raise UserError(f'{ann_file}: image {image["id"]} has no "height" and "width", which AP needs; write both.')
        sizes[image['id']] = image['height'], image['width']
    found = {
        number: [_instance(entry, label_of, ann_file) for entry in entries if entry['category_id'] in label_of]
        for number, entries in file.objects.items()
    }
    return InstanceTruth(sizes, {number: entries for number, entries in found.items() if entries})


def _instance(entry: Object, label_of: Mapping[int, int], ann_file: str) -> dict[str, Any]:
    """Return an object in the form of COCO's evaluation; area and box are those of the file, as in COCO's own code."""
    try:
        area, box = as_number(entry.get('area')), entry.get('bbox')
        if not isinstance(box, list) or len(box) != 4:
            raise InvalidValueError(f'is {brief(box)}, which is not four numbers')
        box = [as_number(edge) for edge in box]
    except InvalidValueError as error:
        raise UserError(
            f'{ann_file}: annotation {entry["id"]} has an "area" or "bbox" that {error}; AP needs both.'
        ) from error
    label, crowd = label_of[entry['category_id']], int(entry['iscrowd'])
    return {'segmentation': entry['segmentation'], 'bbox': box, 'area': area, 'category_id': label, 'iscrowd': crowd}


def check_file(ann_file: str) -> None:
    """Raise a FileNotFoundError if an instance file is missing."""
    if not Path(ann_file).is_file():
        raise MissingFileError(
            f'There is no {ann_file}; prepare the data set (docs/datasets.md), or set ann_file=None of InstanceAP to '
            'measure on the panoptic annotation.'
        )
