"""Small trees laid out like the official downloads, before any preparation."""

import json

import cv2
import numpy as np
from mmengine.registry import DATASETS

SIZE = (48, 64)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), array[..., ::-1] if array.ndim == 3 else array)


def photo(path, size=SIZE, seed=0):
    save(path, np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


def blocks(rng, values, size=SIZE, block=8):
    """A map of square blocks with random values."""
    small = rng.choice(values, (size[0] // block, size[1] // block))
    return np.kron(small, np.ones((block, block), small.dtype))


def draw_ade20k(root, split='training', prefix='ADE_train_', count=3):
    """SceneParsing: classes 1-150, 0 = other. Instances: class in red, number in green, whatever the semantics say."""
    for number in range(1, count + 1):
        rng = np.random.default_rng(number)
        stem = f'{prefix}{number:08d}'
        photo(root / f'images/{split}/{stem}.jpg', seed=number)
        save(root / f'annotations/{split}/{stem}.png', blocks(rng, np.arange(0, 151, 3, dtype=np.uint8)))
        numbers = blocks(rng, np.array([0, 0, 0, 1, 2, 5], np.uint8))
        kinds = np.array([0, *rng.integers(1, 101, 5)], np.uint8)[numbers]
        save(root / f'annotations_instance/{split}/{stem}.png', np.stack([kinds, numbers, 0 * numbers], -1))


def draw_cityscapes(root, split='val', cities=('bonn', 'ulm')):
    """gtFine: instanceIds (16 bit), labelIds; all label ids, groups of things, objects, objects of ignored classes."""
    values = np.array([*range(34), *(1000 * label + k for label in range(24, 34) for k in (0, 1, 12))], np.uint16)
    for number, city in enumerate(cities):
        stem = f'{city}_000000_{number:06d}'
        ids = blocks(np.random.default_rng(number), values)
        folder = root / f'gtFine/{split}/{city}'
        save(folder / f'{stem}_gtFine_instanceIds.png', ids)
        save(folder / f'{stem}_gtFine_labelIds.png', np.where(ids < 1000, ids, ids // 1000).astype(np.uint8))
        photo(root / f'leftImg8bit/{split}/{city}/{stem}_leftImg8bit.png', seed=number)


def draw_mapillary(root, folder='validation', count=2):
    """Instances only, as before release 1.2, with the release's list of labels."""
    meta = DATASETS.get('MapillaryPanoptic').METAINFO
    labels = [
        dict(name=f'group--{k}', readable=name, instances=k in meta['thing_ids'], color=list(meta['palette'][k]))
        for k, name in enumerate(meta['classes'])
    ]
    labels.append(dict(name='void--unlabeled', readable='Unlabeled', instances=False, color=[0, 0, 0]))
    root.mkdir(parents=True, exist_ok=True)
    (root / 'config.json').write_text(json.dumps(dict(labels=labels)))
    values = np.array([256 * label + k for label in (0, 1, 2, 13, 27, 55, 65) for k in (0, 1, 3)], np.uint16)
    for number in range(count):
        photo(root / f'{folder}/images/v{number}.jpg', seed=number)
        save(root / f'{folder}/instances/v{number}.png', blocks(np.random.default_rng(number), values))
