"""Drawn shapes as photos with semantic maps alone, and with an instance JSON alone."""

import json
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as mask_api

from mmseg_oneformer.annotations.id_maps import decode_ids
from mmseg_oneformer.datasets.shapes import CLASSES, write_shapes

THING_NAMES = CLASSES[3:]
SEMANTIC_NAMES = ('ball', 'sky', 'water', 'grass')
"""Another order than the model's, one thing, and no box, cone or star: those pixels are void."""


def draw_sources(folder, train=6, val=2, size=96):
    """Draw shapes into ``folder/shapes``, and from other pictures ``semantic`` and ``instance``."""
    folder = Path(folder)
    write_shapes(folder / 'shapes', train, val, size, workers=1)
    for number, (name, write) in enumerate((('semantic', write_semantic), ('instance', write_instances)), start=1):
        write_shapes(folder / name, train, val, size, seed=number, workers=1)
        for split in ('train', 'val'):
            root = folder / name
            content = json.loads((root / f'annotations/panoptic_{split}.json').read_text())
            write(root, split, content)
    return folder


def ids_of(root, split, annotation):
    return decode_ids((root / f'annotations/panoptic_{split}' / annotation['file_name']).read_bytes())


def write_semantic(root, split, content):
    out = root / f'masks/{split}'
    out.mkdir(parents=True)
    for annotation in content['annotations']:
        ids = ids_of(root, split, annotation)
        values = np.full(ids.shape, 255, np.uint8)
        for segment in annotation['segments_info']:
            name = CLASSES[segment['category_id'] - 1]
            if name in SEMANTIC_NAMES:
                values[ids == segment['id']] = SEMANTIC_NAMES.index(name)
        cv2.imwrite(str(out / annotation['file_name']), values)


def write_instances(root, split, content):
    """Category ids are not those of the panoptic JSON, and the order of the names is another."""
    names = sorted(THING_NAMES)
    annotations = []
    for annotation in content['annotations']:
        ids = ids_of(root, split, annotation)
        for segment in annotation['segments_info']:
            name = CLASSES[segment['category_id'] - 1]
            if name in names:
                code = mask_api.encode(np.asfortranarray(ids == segment['id'], np.uint8))
                code['counts'] = code['counts'].decode()
                annotations.append(
                    dict(
                        id=len(annotations) + 1,
                        image_id=annotation['image_id'],
                        category_id=10 * (names.index(name) + 1),
                        iscrowd=0,
                        segmentation=code,
                    )
                )
    categories = [dict(id=10 * (number + 1), name=name) for number, name in enumerate(names)]
    (root / f'annotations/instances_{split}.json').write_text(
        json.dumps(dict(images=content['images'], annotations=annotations, categories=categories))
    )
