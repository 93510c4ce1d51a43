import importlib.util
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from pycocotools import mask as coco_mask

from mmseg_oneformer.datasets.doctor import examine, open_source

SIZES = {1: (40, 60), 2: (50, 44)}
TREE, CAT, DOG = 2, 5, 9


class DoctorData:
    """Two photos with three segments each; the doctor finds nothing until a test plants a fault."""

    def __init__(self, folder):
        self.folder = folder
        self.content = dict(
            images=[],
            annotations=[],
            categories=[
                dict(id=DOG, name='dog', isthing=1),
                dict(id=TREE, name='tree', isthing=0),
                dict(id=CAT, name='cat', isthing=1),
            ],
        )
        self.ids = {}
        for name in ('train', 'annotations/panoptic_train'):
            (folder / name).mkdir(parents=True)
        for number, size in SIZES.items():
            self.add(number, size)

    def add(self, number, size, split='train'):
        half, third = size[0] // 2, size[1] // 3
        parts = [(900_000 + number, TREE, slice(0, half), slice(None))]
        parts += [(7, CAT, slice(half, None), slice(0, third)), (70_000, DOG, slice(half, None), slice(third, None))]
        ids = np.zeros(size, np.int64)
        table = []
        for segment_id, category, rows, columns in parts:
            ids[rows, columns] = segment_id
            where = np.argwhere(ids == segment_id)
            (top, left), (bottom, right) = where.min(0).tolist(), where.max(0).tolist()
            box = [left, top, right - left + 1, bottom - top + 1]
            table.append(dict(id=segment_id, category_id=category, iscrowd=0, area=len(where), bbox=box))
        self.write_photo(number, size, split)
        self.write_map(number, ids)
        self.content['images'].append(dict(id=number, file_name=f'{number}.jpg', height=size[0], width=size[1]))
        self.content['annotations'].append(dict(image_id=number, file_name=f'{number}.png', segments_info=table))

    def photo(self, number):
        return self.folder / f'train/{number}.jpg'

    def map(self, number):
        return self.folder / f'annotations/panoptic_train/{number}.png'

    def write_photo(self, number, size, split='train'):
        pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
        cv2.imwrite(str(self.folder / split / f'{number}.jpg'), pixels)

    def write_map(self, number, ids):
        self.ids[number] = ids
        bgr = np.stack([ids >> 16, ids >> 8 & 255, ids & 255], -1).astype(np.uint8)
        cv2.imwrite(str(self.map(number)), bgr)

    def annotation(self, number):
        return next(entry for entry in self.content['annotations'] if entry['image_id'] == number)

    def segment(self, number, category):
        table = self.annotation(number)['segments_info']
        return next(entry for entry in table if entry['category_id'] == category)

    def config(self, **settings):
        """A config with this data set; `settings` of the data set, and of the whole as `cfg`."""
        cfg = settings.pop('cfg', {})
        data = dict(
            type='PanopticDataset',
            data_root=str(self.folder),
            ann_file='annotations/panoptic_train.json',
            data_prefix=dict(img='train', seg='annotations/panoptic_train'),
            metainfo=dict(classes=['tree', 'cat', 'dog'], thing_ids=[1, 2]),
            pipeline=[dict(type='LoadPanopticIds', allow_absent=settings.pop('allow_absent', False))],
        )
        # In a wrapper, as several sources are.
        wrapped = dict(type='ConcatDataset', datasets=[{**data, **settings}])
        return Config(dict(train_dataloader=dict(dataset=wrapped), **cfg))

    def write(self):
        path = self.folder / 'annotations/panoptic_train.json'
        path.write_text(json.dumps(self.content))
        return path

    def write_val(self, spoil=lambda content: None):
        """The same photos as validation data."""
        shutil.copytree(self.folder / 'train', self.folder / 'val', dirs_exist_ok=True)
        content = json.loads(json.dumps(self.content))
        spoil(content)
        path = self.folder / 'annotations/panoptic_val.json'
        path.write_text(json.dumps(content))
        return path

    def write_instances(self, masks):
        """An instance JSON of photo 1; masks are (category, iscrowd, (H, W) bool)."""
        annotations = []
        for number, (category, crowd, mask) in enumerate(masks, start=1):
            rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
            shape = dict(size=rle['size'], counts=rle['counts'].decode())
            entry = dict(id=number, image_id=1, category_id=category + 100, iscrowd=crowd, segmentation=shape)
            annotations.append(entry)
        categories = [dict(id=CAT + 100, name='cat'), dict(id=DOG + 100, name='dog')]
        path = self.folder / 'instances.json'
        path.write_text(
            json.dumps(dict(images=[dict(id=1, file_name='1.jpg')], annotations=annotations, categories=categories))
        )
        return path

    def examine(self, cfg=None, val=None, **settings):
        source = open_source(self.write(), cfg)
        return examine(source, open_source(val, need_maps=False) if val else None, **settings)

    def found(self, **settings):
        return {name: entry.count for name, entry in self.examine(**settings).tally.rules.items()}


@pytest.fixture
def data(tmp_path):
    return DoctorData(tmp_path)


@pytest.fixture(scope='session')
def planted():
    """One fault for each rule: functions that spoil the data and return further arguments of `examine`."""
    spec = importlib.util.spec_from_file_location('doctor_faults', Path(__file__).with_name('faults.py'))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.PLANTED
