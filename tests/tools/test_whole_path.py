import json
import math
from pathlib import Path

import pytest

from mmseg_oneformer.zoo.configs import find_config
from mmseg_oneformer.zoo.weights import find_weights

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
REAL_PHOTOS = 'oneformer_r50-scratch_1xb4-800_coco-mini-192x192'


def results(folder):
    return json.loads((folder / 'results.json').read_text())


def test_shipped_weights__three_tasks_on_pictures_not_drawn_before(call_tool, tmp_path):
    assert (
        call_tool('dataset_converters/make_shapes.py', '--out', 'data/shapes', '--train', 1, '--val', 24, '--seed', 9)
        == 0
    )
    weights = find_weights(QUICKSTART)
    options = (
        '--work-dir',
        'out',
        '--cfg-options',
        'test_dataloader.num_workers=0',
        'test_dataloader.persistent_workers=False',
    )
    assert call_tool('test.py', QUICKSTART, '--token-matrix', *options) == 0
    found = results(tmp_path / 'out')
    assert weights.stat().st_size <= 6e6
    assert (found['seed'], found['iteration'], found['num_images']) == (0, 6000, 24)
    matrix = found['metrics']
    assert matrix['panoptic']['PQ'] >= 70
    assert matrix['instance']['AP'] >= 50
    assert matrix['semantic']['mIoU'] >= 80
    assert matrix['instance']['PQ_st'] <= 5, 'the instance token must leave stuff out'
    assert matrix['instance']['mIoU'] < matrix['semantic']['mIoU'] / 2
    assert matrix['semantic']['AP'] < matrix['instance']['AP']


@pytest.mark.slow
def test_real_photos__train_test_and_infer(run_tool, tmp_path):
    photos = ROOT / 'data/coco_mini'
    if not photos.is_dir():
        pytest.skip('the photos of coco_mini are not at data/coco_mini')
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data/coco_mini').symlink_to(photos.resolve())
    config = find_config(REAL_PHOTOS)
    short = ('train_cfg.max_iters=2', 'default_hooks.checkpoint.interval=1', 'default_hooks.logger.interval=1')
    trained = run_tool('train.py', config, '--work-dir', 'run', '--cfg-options', *short)
    assert trained.returncode == 0, trained.stderr
    log = next((tmp_path / 'run').glob('*/vis_data/scalars.json')).read_text()
    losses = [step['loss'] for step in map(json.loads, log.splitlines()) if 'loss' in step]
    assert len(losses) == 2
    assert all(map(math.isfinite, losses))
    checkpoint = tmp_path / 'run/iter_2.pth'
    tested = run_tool('test.py', config, checkpoint, '--work-dir', 'out')
    assert tested.returncode == 0, tested.stderr
    assert set(results(tmp_path / 'out')['metrics']['own']) >= {'PQ', 'AP', 'mIoU'}
    photo = sorted((photos / 'val2017').iterdir())[0]
    done = run_tool('infer.py', photo, '--model', config, '--weights', checkpoint, '--out-dir', 'answers')
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / 'answers/overlays').iterdir())) == 3


@pytest.mark.slow
def test_quickstart__writes_its_summary_and_pictures(run_tool, tmp_path):
    done = run_tool('quickstart.py', '--iterations', 3, '--install-seconds', 1, timeout=3600)
    assert done.returncode == 0, done.stderr
    out = tmp_path / 'work_dirs/quickstart'
    summary = json.loads((out / 'summary.json').read_text())
    for name in ('from_scratch', 'bundled'):
        assert summary[name].keys() == {'PQ', 'PQ_th', 'PQ_st', 'AP', 'mIoU', 'token_matrix', 'seconds'}
        assert summary[name]['token_matrix'].keys() == {'semantic', 'instance', 'panoptic'}
    assert summary['seconds']['install'] == 1
    assert summary['bundled']['PQ'] >= 70
    assert len(list((out / 'pictures').glob('*.png'))) == 12
