"""COCO 2017: instance and semantic annotations derived from the panoptic ones.

``tools/train.py`` and ``tools/test.py`` derive the same while loading and need none of these files; they are for tools
that read instance JSONs or label maps, and for comparison with other projects' results.
"""

import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from ..annotations.coco import Category
from ..annotations.coco_panoptic import PanopticFile, read_panoptic
from ..annotations.faults import raise_faults
from ..annotations.id_maps import read_ids, table_index_map
from ..datasets.benchmarks import COCO
from ..errors import UserError
from .layout import check_space, require_folder
from .panoptic import encode_labels, write_json
from .parallel import Job, hold_journal, run_jobs, write_if_changed

__all__ = ['SPLITS', 'prepare_coco']

SPLITS = ('train', 'val')
VOID = 255
BYTES_A_PICTURE = 20_000
REMEDY = 'unpack panoptic_annotations_trainval2017.zip, and the {}.zip inside it into "annotations"'


def prepare_coco(root: Path, out: Path, split: str, processes: int | None = None) -> list[Path]:
    """Write ``annotations/panoptic2instances_<split>2017.json`` and ``annotations/panoptic_semseg_<split>2017/``.

    The first has only the things, each with its panoptic segment as mask, crowds included; box and area are those of
    the panoptic JSON. The second has one PNG per photo with the class index of each pixel, 255 where there is none.

    Args:
        root: Folder with ``annotations/panoptic_<split>2017.json`` and its folder of PNGs.
        out: Output folder, in which ``annotations`` is created; usually ``root``.
        split: 'train' or 'val'.
        processes: Number of processes; None: one per core.

    Returns:
        The JSON and the folder of PNGs.

    Raises:
        UserError: A file is missing, damaged or does not fit the JSON.
    """
    name = f'panoptic_{split}2017'
    json_path = root / 'annotations' / f'{name}.json'
    if not json_path.is_file():
        raise UserError(f'{json_path} does not exist; {REMEDY.format(name)}.')
    pngs = require_folder(root / 'annotations' / name, REMEDY.format(name))
    file = read_panoptic(json_path)
    categories = file.categories
    if tuple(category['name'] for category in categories) != COCO['classes']:
        raise UserError(f'{json_path} does not have the 133 categories of COCO; copy it again.')
    raise_faults(json_path, file.grave_faults)
    semseg = out / 'annotations' / f'panoptic_semseg_{split}2017'
    jobs = [
        Job(
            entry['file_name'],
            (str(pngs / entry['file_name']),),
            (str(semseg / entry['file_name']),),
            (entry['image_id'], entry['segments_info']),
        )
        for entry in file.annotations.values()
    ]
    check_space(out, BYTES_A_PICTURE * len(jobs))
    journal = out / 'annotations' / f'.coco_{split}.journal'
    work = partial(_convert, categories=categories)
    target = out / 'annotations' / f'panoptic2instances_{split}2017.json'
    with hold_journal(journal, [target]):
        results = run_jobs(
            work, jobs, journal, {'coco': 1, 'json': zlib.crc32(json_path.read_bytes())}, processes, f'COCO {split}'
        )
        write_json(target, _instance_json(file, results))
    return [target, semseg]


def _instance_json(file: PanopticFile, results: list[dict]) -> dict:
    instances = [instance for result in results for instance in result['instances']]
    return {
        **{key: value for key, value in (('info', file.info), ('licenses', file.licenses)) if value},
        'images': file.images,
        'categories': [
            {key: value for key, value in category.items() if key != 'isthing'}
            for category in file.categories
            if category['isthing']
        ],
        # From 1: the public script begins at 0, which pycocotools takes for "no match".
        'annotations': [{**entry, 'id': number} for number, entry in enumerate(instances, start=1)],
    }


def _convert(job: Job, categories: list[Category]) -> dict:
    """Write the label map of one photo; returns its ``instances``."""
    image_id, segments = job.details
    path = Path(job.sources[0])
    if not path.is_file():
        raise UserError(f'Annotation {path} does not exist; {REMEDY.format(path.parent.name)}.')
    index_map = table_index_map(read_ids(path), segments, str(path))
    labels = {category['id']: label for label, category in enumerate(categories)}
    table = np.array([VOID, *(labels[segment['category_id']] for segment in segments)], dtype=np.uint8)
    write_if_changed(job.products[0], encode_labels(table[index_map]))
    columns_first = np.asfortranarray(index_map)
    instances: list[dict[str, Any]] = []
    for number, segment in enumerate(segments, start=1):
        if categories[labels[segment['category_id']]]['isthing']:
            code = mask_api.encode((columns_first == number).view(np.uint8))
            code['counts'] = code['counts'].decode()
            rest = {key: value for key, value in segment.items() if key != 'id'}
            crowd = int(segment['iscrowd'])
            instances.append({**rest, 'iscrowd': crowd, 'image_id': image_id, 'segmentation': code})
    return {'instances': instances}
