import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.registry import init_default_scope

ROOT = Path(__file__).resolve().parents[2]


class ToyData:
    """A folder of COCO-panoptic files whose `content` a test may spoil before it builds a data set."""

    def __init__(self, folder):
        self.folder = folder
        for name in ('photos', 'maps'):
            (folder / name).mkdir()
        self.content = dict(
            images=[],
            annotations=[],
            # Neither sorted by id nor things first.
            categories=[
                dict(id=9, name='dog', isthing=1),
                dict(id=2, name='tree', isthing=0),
                dict(id=5, name='cat', isthing=1),
            ],
        )
        self.add(1, (40, 60), [(900_000, 2, 0, (0, 0, 20, 60)), (7, 5, 0, (20, 0, 40, 30))])
        self.add(2, (50, 45), [(70_000, 9, 0, (0, 0, 25, 45)), (65_536, 5, 1, (25, 0, 50, 45))])
        self.add(3, (32, 32), [(5, 2, 0, (0, 0, 32, 32))])

    def add(self, number, size, segments):
        """A photo and its map; segments are (id, category, iscrowd, (top, left, bottom, right))."""
        rng = np.random.default_rng(number)
        cv2.imwrite(str(self.folder / f'photos/{number}.jpg'), rng.integers(0, 256, (*size, 3), dtype=np.uint8))
        ids = np.zeros(size, np.int64)
        for segment_id, _, _, (top, left, bottom, right) in segments:
            ids[top:bottom, left:right] = segment_id
        self.write_map(number, ids)
        self.content['images'].append(dict(id=number, file_name=f'{number}.jpg', height=size[0], width=size[1]))
        table = [dict(id=i, category_id=c, iscrowd=k, area=1, bbox=[0, 0, 1, 1]) for i, c, k, _ in segments]
        # In the other order than the images.
        self.content['annotations'].insert(0, dict(image_id=number, file_name=f'{number}.png', segments_info=table))

    def write_map(self, number, ids):
        bgr = np.stack([ids >> 16, ids >> 8 & 255, ids & 255], -1).astype(np.uint8)
        cv2.imwrite(str(self.folder / f'maps/{number}.png'), bgr)

    def annotation(self, number):
        return next(entry for entry in self.content['annotations'] if entry['image_id'] == number)

    def config(self, **settings):
        """Arguments of a data set over the current content."""
        (self.folder / 'panoptic.json').write_text(json.dumps(self.content))
        return dict(
            ann_file='panoptic.json',
            data_root=str(self.folder),
            data_prefix=dict(img='photos', seg='maps'),
            pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadPanopticIds')],
            **settings,
        )


@pytest.fixture
def toy(tmp_path):
    return ToyData(tmp_path)


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmdet')


@pytest.fixture(scope='session')
def golden():
    return json.loads((ROOT / 'tests/data/golden.json').read_text())


@pytest.fixture(scope='session')
def coco_mini():
    """Folder of the real photos."""
    folder = ROOT / 'data/coco_mini'
    if not folder.is_dir():
        pytest.skip('the photos of coco_mini are not at data/coco_mini')
    return folder


@pytest.fixture
def train_pipeline():
    """The shortest-edge recipe in small."""
    return [
        dict(type='LoadImageFromFile'),
        dict(type='LoadPanopticIds'),
        dict(type='RandomShortestEdge', sizes=[24, 32, 48], max_size=96),
        dict(type='RandomPanopticCrop', size=(32, 32)),
        dict(type='mmseg.PhotoMetricDistortion'),
        dict(type='mmdet.RandomFlip', prob=0.5),
        dict(type='PadTo', size=(32, 32)),
        dict(type='SampleTask', probs=dict(semantic=1 / 3, instance=1 / 3, panoptic=1 / 3)),
        dict(type='TaskTargets'),
        dict(type='DescribeTargets', template='photo'),
        dict(type='PackOneFormerInputs'),
    ]


@pytest.fixture
def load_tool():
    """Load a tool as a module: starting a process for it costs ten seconds of imports."""

    def load(name):
        spec = importlib.util.spec_from_file_location(Path(name).stem, ROOT / 'tools' / name)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
