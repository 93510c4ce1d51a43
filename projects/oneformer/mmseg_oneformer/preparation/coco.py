"""COCO 2017: instance and semantic annotations derived from the panoptic ones.

``tools/train.py`` and ``tools/test.py`` make the same while loading and need none of these files; they are for tools
that read instance JSONs or label maps, and for comparing with results of others.
"""

import json
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from ..annotations.id_maps import decode_ids, table_index_map
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

    The first has the things only, each with its panoptic segment as mask, crowds included; box and area are those of
    the panoptic JSON. The second has one PNG a photo with the class index of each pixel, 255 where there is none.

    Args:
        root: Folder with ``annotations/panoptic_<split>2017.json`` and its folder of PNGs.
        out: Folder of what is written, in which ``annotations`` is made; usually ``root``.
        split: 'train' or 'val'.
        processes: How many; None: one a core.

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
    data = json_path.read_bytes()
    content = json.loads(data)
    categories = sorted(content['categories'], key=lambda category: category['id'])
    if tuple(category['name'] for category in categories) != COCO['classes']:
        raise UserError(f'{json_path} does not have the 133 categories of COCO; copy it again.')
    semseg = out / 'annotations' / f'panoptic_semseg_{split}2017'
    jobs = [
        Job(
            entry['file_name'],
            (str(pngs / entry['file_name']),),
            (str(semseg / entry['file_name']),),
            (entry['image_id'], entry['segments_info']),
        )
        for entry in content['annotations']
    ]
    check_space(out, BYTES_A_PICTURE * len(jobs))
    journal = out / 'annotations' / f'.coco_{split}.journal'
    work = partial(_convert, categories=categories)
    target = out / 'annotations' / f'panoptic2instances_{split}2017.json'
    with hold_journal(journal, [target]):
        results = run_jobs(work, jobs, journal, {'coco': 1, 'json': zlib.crc32(data)}, processes, f'COCO {split}')
        write_json(target, _instance_json(content, categories, results))
    return [target, semseg]


def _instance_json(content: dict, categories: list[dict], results: list[dict]) -> dict:
    instances = [instance for result in results for instance in result['instances']]
    return {
        **{key: content[key] for key in ('info', 'licenses') if key in content},
        'images': content['images'],
        'categories': [
            {key: value for key, value in category.items() if key != 'isthing'}
            for category in categories
            if category['isthing']
        ],
        # The public script begins at 0, which pycocotools takes for "no match".
        'annotations': [{**entry, 'id': number} for number, entry in enumerate(instances, start=1)],
    }


def _convert(job: Job, categories: list[dict]) -> dict:
    """Write the label map of one photo; returns its ``instances``."""
    image_id, segments = job.details
    path = Path(job.sources[0])
    if not path.is_file():
        raise UserError(f'Annotation {path} does not exist; {REMEDY.format(path.parent.name)}.')
    ids = decode_ids(path.read_bytes())
    if ids is None:
        raise UserError(f'Annotation {path} cannot be decoded: it is damaged or not a PNG; copy it again.')
    index_map = table_index_map(ids, segments, str(path))
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
            instances.append({**rest, 'image_id': image_id, 'segmentation': code})
    return {'instances': instances}
