"""The examples of docs/extending.md, as a stranger has them: in a folder outside of the checkout, a process each."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from mmseg_oneformer.datasets.shapes import write_shapes

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / 'docs/extending.md').read_text()
FILES = dict(re.findall(r'^```python\n# (\w+\.py)\n(.*?)^```', PAGE, re.MULTILINE | re.DOTALL))
CONFIGS = sorted(name for name in FILES if name.endswith('_config.py'))


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """The folder ``mine`` beside a checkout, with the files of the page and some drawn data."""
    folder = tmp_path_factory.mktemp('work')
    (folder / 'mmseg_oneformer').symlink_to(ROOT, target_is_directory=True)
    mine = folder / 'mine'
    mine.mkdir()
    for name, text in FILES.items():
        (mine / name).write_text(text)
    write_shapes(mine / 'data/shapes', train=4, val=2)
    return mine


@pytest.fixture
def run(place, warm_python):
    """Run a script in ``mine``, in a process of its own, and return what it printed."""

    def call(*args):
        env = {**os.environ, 'PYTHONPATH': os.pathsep.join(['.', os.environ.get('PYTHONPATH', '')])}
        env |= {'OMP_NUM_THREADS': '1', 'PYTHONDONTWRITEBYTECODE': '1'}
        command = [sys.executable, '-ISE', ROOT / 'tests/toy/warm_python.py', warm_python, *args]
        done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return call


def status():
    """What git says has changed in the checkout; empty where it is none."""
    return subprocess.run(
        ['git', 'status', '--porcelain'], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout


def test_examples__are_short():
    assert len(CONFIGS) > 4
    for name in CONFIGS:
        lines = FILES[name.replace('_config', '')].splitlines() + FILES[name].splitlines()
        assert len(lines) <= 40, name
    assert len(FILES['circles.py'].splitlines()) <= 40


@pytest.mark.parametrize('config', CONFIGS)
def test_example__trains_two_iterations_and_leaves_the_checkout_alone(config, place, run):
    before = status()
    work_dir = f'work_dirs/{Path(config).stem}'
    run('../mmseg_oneformer/tools/train.py', config, '--work-dir', work_dir)
    log = [
        json.loads(line) for line in next((place / work_dir).glob('*/vis_data/scalars.json')).read_text().splitlines()
    ]
    losses = [line for line in log if 'loss' in line]
    assert len(losses) == 2 and all(np.isfinite(line['loss']) for line in losses)
    marks = {
        'spread_config.py': lambda: all(line['loss_query_spread'] > 0 for line in losses),
        'pixel_accuracy_config.py': lambda: 0 <= log[-1]['pixel_accuracy'] <= 100,
        'landscapes_config.py': lambda: 'PQ' in log[-1],
    }
    assert marks.get(config, lambda: True)()
    # As it was trained, read without its imports, which are none of this process's.
    trained = Config.fromfile(place / work_dir / config, import_custom_modules=False)
    kinds = {str(value) for value in values_of(trained.to_dict(), 'type')}
    own = set(re.findall(r'^class (\w+)', FILES[config.replace('_config', '')], re.MULTILINE))
    assert own <= kinds
    assert status() == before


def values_of(value, key):
    if isinstance(value, dict):
        yield from (value[name] for name in value if name == key)
        value = list(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            yield from values_of(part, key)


def test_annotation_format__makes_panoptic_files(place, run):
    (place / 'photos').mkdir()
    cv2.imwrite(str(place / 'photos/a.png'), np.full((40, 60, 3), 90, np.uint8))
    (place / 'circles.csv').write_text('photo,class,x,y,radius\na.png,cell,20,20,10\na.png,nucleus,22,20,4\n')
    before = status()
    run('circles.py')
    content = json.loads((place / 'annotations/panoptic_train.json').read_text())
    assert [category['name'] for category in content['categories']] == ['cell', 'nucleus']
    segments = {segment['category_id']: segment for segment in content['annotations'][0]['segments_info']}
    assert segments[2]['bbox'] == [18, 16, 9, 9]
    y, x = np.ogrid[:40, :60]
    small = np.hypot(y - 20, x - 22) <= 4
    assert segments[2]['area'] == small.sum()
    assert segments[1]['area'] == (np.hypot(y - 20, x - 20) <= 10).sum() - small.sum()
    assert status() == before
