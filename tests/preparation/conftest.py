import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from PIL import Image

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmdet')


@pytest.fixture(scope='session')
def downloads():
    spec = importlib.util.spec_from_file_location('drawn_downloads', HERE / 'downloads.py')
    module = importlib.util.module_from_spec(spec)
    sys.modules['drawn_downloads'] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='session')
def tree():
    """Every file below a folder with its bytes."""
    return lambda folder: {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob('*')) if path.is_file()
    }


@pytest.fixture(scope='session')
def read_panoptic():
    """Read a panoptic JSON and its PNGs without code of ours: {file name: (ids, segments)} and the JSON."""

    def read(path, folder=None):
        content = json.loads(path.read_text())
        maps = {}
        for annotation in content['annotations']:
            rgb = np.asarray(Image.open((folder or path.with_suffix('')) / annotation['file_name'])).astype(np.int64)
            maps[annotation['file_name']] = (
                rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2],
                annotation['segments_info'],
            )
        return maps, content

    return read


@pytest.fixture(scope='session')
def coco_mini():
    folder = ROOT / 'data/coco_mini'
    if not folder.is_dir():
        pytest.skip('the photos of coco_mini are not at data/coco_mini')
    return folder
