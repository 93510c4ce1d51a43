import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from PIL import Image

SIZE = (20, 30)
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


@pytest.fixture
def folder(tmp_path, downloads):
    """A photo photos/a.jpg."""
    downloads.photo(tmp_path / 'photos/a.jpg', SIZE)
    return tmp_path


@pytest.fixture
def convert_one(folder, call_tool, capsys, read_panoptic, tree):
    """The tool on that photo; returns the names of its segments and where each is, and what was printed."""

    def run(kind, annotations, *args, status=0, images='photos'):
        before = tree(folder)
        arguments = [kind, annotations, '--images', images, '--out', 'out', *args]
        done = call_tool('dataset_converters/to_panoptic.py', *arguments)
        printed = capsys.readouterr()
        assert done == status, printed.err
        after = tree(folder)
        assert {name: data for name, data in after.items() if not name.startswith('out/')} == {
            name: data for name, data in before.items() if not name.startswith('out/')
        }, 'something was written elsewhere'
        if status:
            assert 'Traceback' not in printed.err and printed.err.startswith('error: ')
            return printed.err
        maps, content = read_panoptic(folder / 'out/panoptic_train.json')
        names = {category['id']: category['name'] for category in content['categories']}
        ids, segments = maps['a.png']
        found = [(names[s['category_id']] + '*' * s['iscrowd'], (ids == s['id']).sum()) for s in segments]
        return found, printed.out + printed.err

    return run
