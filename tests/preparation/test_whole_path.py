"""From each download, by the documented commands, to a checked data set, a trained model, numbers and pictures."""

import json
import math

import pytest

from mmseg_oneformer.zoo.configs import find_config, read_config

MODELS = {
    'ade20k': 'oneformer_r50_8xb2-160k_ade20k-512x512',
    'cityscapes': 'oneformer_r50_8xb2-90k_cityscapes-512x1024',
    'coco': 'oneformer_r50_8xb2-50e_coco-1024x1024',
    'mapillary': 'oneformer_r50_8xb2-300k_mapillary-1024x1024',
}


def draw(name, downloads, drawn_benchmarks, folder):
    """The download of ``name`` where its config looks for it; returns the panoptic JSON to come."""
    root = folder / drawn_benchmarks.BENCHMARKS[name].root
    if name == 'ade20k':
        downloads.draw_ade20k(root, count=4)
        downloads.draw_ade20k(root, 'validation', 'ADE_val_', count=3)
    elif name == 'cityscapes':
        downloads.draw_cityscapes(root, 'train', ('aachen', 'bochum'))
        downloads.draw_cityscapes(root, 'val')
    elif name == 'mapillary':
        downloads.draw_mapillary(root, 'training', count=4)
        downloads.draw_mapillary(root)
    else:
        drawn_benchmarks.draw_benchmark(name, folder, train=4, val=2)
    return root


@pytest.mark.slow
@pytest.mark.parametrize('name', MODELS)
def test_download_to_pictures(name, downloads, drawn_benchmarks, small_models, tmp_path, call_tool, run_tool):
    root = draw(name, downloads, drawn_benchmarks, tmp_path)
    assert call_tool(f'dataset_converters/{name}.py', '--root', root) == 0
    config = find_config(MODELS[name])
    for split in ('train', 'val'):
        path = root / drawn_benchmarks.BENCHMARKS[name].json(split)
        assert call_tool('dataset_doctor.py', path, '--config', config) == 0, 'the doctor found errors'

    cfg = read_config(config)
    options = small_models.small_model(cfg) | small_models.small_data(cfg)
    short = {'train_cfg.max_iters': 20, 'train_cfg.val_interval': 20, 'default_hooks.checkpoint.interval': 20}
    options |= short | {'default_hooks.logger.interval': 5}
    changes = ('--cfg-options', *small_models.command_line(options))
    trained = run_tool('train.py', config, '--work-dir', 'run', *changes)
    assert trained.returncode == 0, trained.stderr
    log = next((tmp_path / 'run').glob('*/vis_data/scalars.json')).read_text()
    losses = [step['loss'] for step in map(json.loads, log.splitlines()) if 'loss' in step]
    assert len(losses) >= 4 and losses[-1] < losses[0]

    tested = ('--work-dir', 'out', '--show-dir', 'pictures', *changes)
    measured = run_tool('test.py', config, 'run/iter_20.pth', *tested)
    assert measured.returncode == 0, measured.stderr
    metrics = json.loads((tmp_path / 'out/results.json').read_text())['metrics']['own']
    assert math.isfinite(metrics['PQ']) and math.isfinite(metrics['mIoU'])
    assert ('AP' in metrics) == (name != 'mapillary')
    photos = json.loads((root / drawn_benchmarks.BENCHMARKS[name].json('val')).read_text())['images']
    assert len(list((tmp_path / 'pictures').rglob('*.png'))) == len(photos)
