"""ADE20K: the SceneParsing release and the instance release become panoptic and instance annotations.

Decisions, all as in the public preparation (Mask2Former's, which the reference code uses), so that files from either
give the same targets and the same numbers:
* Stuff comes from the semantic PNG, things from the instance PNG. Things lie over stuff; pixels of a thing class that
  belong to no instance are void.
* Area and box of stuff are those before things were laid over it; a stuff segment may have no pixels left.
* The k-th of the 100 instance classes is the k-th thing of the 150 classes, so no category table is needed. Categories
  of both JSONs are numbered by the 150 classes, 0-149; image ids are the photos' names.

Segment ids are ours (the public ones are random); names in the instance JSON are the class names, by which the metric
finds them.
"""

from pathlib import Path

import numpy as np
from pycocotools import mask as mask_api

from ..annotations.semantic_png import read_pixels
from ..datasets.benchmarks import ADE20K
from ..errors import UserError
from ..photos.header import photo_size
from .layout import check_space, list_files, require_folder
from .panoptic import SegmentIds, boxes, panoptic_json, write_id_map, write_json
from .parallel import Job, hold_journal, run_jobs

__all__ = ['FOLDERS', 'prepare_ade20k']

META = ADE20K
THINGS: tuple[int, ...] = META['thing_ids']
FOLDERS = {'train': 'training', 'val': 'validation'}
BYTES_A_PICTURE = 40_000
"""Bytes of the PNG and of the entries of both JSONs, which are counted twice because of the journal."""

SEMANTIC_REMEDY = 'unpack ADEChallengeData2016.zip (the SceneParsing release), and give the folder that holds "images"'
INSTANCE_REMEDY = 'unpack annotations_instance.tar (the instance release of the 2017 challenge) beside "annotations"'


def prepare_ade20k(root: Path, out: Path, split: str, processes: int | None = None) -> list[Path]:
    """Write ``ade20k_panoptic_<split>.json`` with its folder of PNGs, and ``ade20k_instance_<split>.json``.

    Args:
        root: Folder with ``images``, ``annotations`` and ``annotations_instance``.
        out: Output folder.
        split: 'train' or 'val'.
        processes: Number of processes; None: one per core.

    Returns:
        The two JSONs.

    Raises:
        UserError: A file is missing, damaged or not as released.
    """
    folder = FOLDERS[split]
    photos = require_folder(root / 'images' / folder, SEMANTIC_REMEDY)
    semantic = require_folder(root / 'annotations' / folder, SEMANTIC_REMEDY)
    instance = require_folder(root / 'annotations_instance' / folder, INSTANCE_REMEDY)
    pngs = out / f'ade20k_panoptic_{split}'
    jobs = [
        Job(
            path.stem,
            (str(path), str(semantic / f'{path.stem}.png'), str(instance / f'{path.stem}.png')),
            (str(pngs / f'{path.stem}.png'),),
        )
        for path in list_files(photos, ('.jpg',), SEMANTIC_REMEDY)
    ]
    check_space(out, BYTES_A_PICTURE * len(jobs))
    journal = out / f'.ade20k_{split}.journal'
    targets = [out / f'ade20k_panoptic_{split}.json', out / f'ade20k_instance_{split}.json']
    with hold_journal(journal, targets):
        results = run_jobs(_convert, jobs, journal, {'ade20k': 1}, processes, f'ADE20K {split}')
        write_json(targets[0], panoptic_json(results, '{id}.png', _categories()))
        write_json(targets[1], _instance_json(results))
    return targets


def _categories() -> list[dict]:
    return [
        {'name': name, 'id': label, 'isthing': int(label in META['thing_ids']), 'color': META['palette'][label]}
        for label, name in enumerate(META['classes'])
    ]


def _instance_json(results: list[dict]) -> dict:
    annotations = [
        {'image_id': result['image']['id'], **instance} for result in results for instance in result['instances']
    ]
    return {
        'images': [result['image'] for result in results],
        'categories': [{'id': label, 'name': META['classes'][label]} for label in META['thing_ids']],
        # pycocotools takes id 0 for "no match", so numbers begin at 1.
        'annotations': [{'id': number, **entry} for number, entry in enumerate(annotations, start=1)],
    }


def _convert(job: Job) -> dict:
    """Write the panoptic PNG of one photo; returns its ``image``, ``segments`` and ``instances``."""
    photo, semantic_path, instance_path = job.sources
    size = photo_size(photo)
    semantic = read_pixels(semantic_path, size)
    if semantic.ndim != 2 or semantic.max(initial=0) > len(META['classes']):
        raise UserError(
            f'Annotation {semantic_path} has values over 150 or colours; it is not of the SceneParsing release.'
        )
    classes, numbers = _instance_maps(instance_path, size)
    ids = SegmentIds(META['palette'])

    id_map, segments = _stuff(semantic, ids)
    instances = []
    # Run-length codes go column by column: transposed once here, not once per instance.
    columns_first = np.asfortranarray(numbers)
    for number, box in enumerate(boxes(numbers, int(numbers.max(initial=0))), start=1):
        if box is None:
            continue
        where = np.s_[box[1] : box[1] + box[3], box[0] : box[0] + box[2]]
        inside = numbers[where] == number
        label = _label(classes[where][inside], instance_path, number)
        segment_id = ids.next(label)
        id_map[where][inside] = segment_id
        entry = {'category_id': label, 'area': int(inside.sum()), 'bbox': box, 'iscrowd': 0}
        segments.append({'id': segment_id, **entry})
        code = mask_api.encode((columns_first == number).view(np.uint8))
        code['counts'] = code['counts'].decode()
        instances.append({**entry, 'segmentation': code})
    write_id_map(job.products[0], id_map)
    image = {'id': job.key, 'file_name': Path(photo).name, 'width': size[1], 'height': size[0]}
    return {'image': image, 'segments': segments, 'instances': instances}


def _stuff(semantic: np.ndarray, ids: SegmentIds) -> tuple[np.ndarray, list[dict]]:
    """Return ids (H, W) int32 and entries of the stuff in a map (H, W), where 0 = other and k = class k - 1."""
    areas = np.bincount(semantic.reshape(-1), minlength=256)
    table = np.zeros(256, dtype=np.int32)
    segments = []
    for value, box in enumerate(boxes(semantic, 150), start=1):
        if box is None or value - 1 in THINGS:
            continue
        table[value] = ids.next(value - 1)
        segments.append(
            {
                'id': int(table[value]),
                'category_id': value - 1,
                'area': int(areas[value]),
                'bbox': box,
                'iscrowd': 0,
            }
        )
    return table[semantic], segments


def _instance_maps(path: str, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the instance classes (1-100) and instance numbers (0 = none) of a PNG of the instance release."""
    values = read_pixels(path, size)
    if values.ndim != 3:
        raise UserError(
            f'Annotation {path} has one channel; the instance release has classes in red, numbers in green.'
        )
    return values[..., 0], values[..., 1]


def _label(classes: np.ndarray, path: str, number: int) -> int:
    """Return the class index of an instance from the red values of its pixels."""
    kind = int(classes[0])
    if not 1 <= kind <= len(THINGS) or (classes != kind).any():
        raise UserError(
            f'Annotation {path}: instance {number} has the classes {np.unique(classes).tolist()} instead of one of '
            f'1-{len(THINGS)}; download the instance release again.'
        )
    return THINGS[kind - 1]
