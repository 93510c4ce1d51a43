"""Every published backbone on every benchmark it was published for: two iterations, a test, on drawn data, in small."""

import json
import math

import pytest
from mmengine.config import Config

from mmseg_oneformer.zoo.configs import find_config

BENCHMARKS = ('ade20k', 'cityscapes', 'coco', 'mapillary')
FAST = {  # one a family of backbones, each on other data
    'oneformer_r50_8xb2-300k_mapillary-1024x1024',
    'oneformer_swin-l_8xb2-90k_cityscapes-512x1024',
    'oneformer_convnext-l_8xb2-160k_ade20k-640x640',
    'oneformer_dinat-l_8xb2-100e_coco-1024x1024',
}
SLOW = {
    'oneformer_r50_8xb2-160k_ade20k-512x512',
    'oneformer_r50_8xb2-90k_cityscapes-512x1024',
    'oneformer_r50_8xb2-50e_coco-1024x1024',
    'oneformer_swin-t_8xb2-160k_ade20k-512x512',
    'oneformer_swin-t_8xb2-50e_coco-1024x1024',
    'oneformer_swin-l_8xb2-160k_ade20k-640x640',
    'oneformer_swin-l_8xb2-100e_coco-1024x1024',
    'oneformer_swin-l_8xb2-300k_mapillary-1024x1024',
    'oneformer_convnext-l_8xb2-90k_cityscapes-512x1024',
    'oneformer_convnext-l_8xb2-300k_mapillary-1024x1024',
    'oneformer_convnext-xl_8xb2-160k_ade20k-640x640',
    'oneformer_convnext-xl_8xb2-90k_cityscapes-512x1024',
    'oneformer_convnext-xl-all-tasks_8xb2-300k_mapillary-1024x1024',
    'oneformer_dinat-l_8xb2-160k_ade20k-1280x1280',
    'oneformer_dinat-l_8xb2-90k_cityscapes-512x1024',
    'oneformer_dinat-l_8xb2-300k_mapillary-1024x1024',
}
MODELS = [*sorted(FAST), *(pytest.param(name, marks=pytest.mark.slow) for name in sorted(SLOW))]


@pytest.fixture
def train(call_tool, small_models, drawn_benchmarks, tmp_path):
    """Train a published model for two iterations on drawn data; returns what the log says, line by line."""

    def run(name):
        (data,) = [benchmark for benchmark in BENCHMARKS if f'_{benchmark}-' in name]
        drawn_benchmarks.draw_benchmark(data, tmp_path, train=4, val=2)
        cfg = Config.fromfile(find_config(name))
        options = small_models.small_model(cfg) | small_models.small_data(cfg)
        options |= {'train_cfg.max_iters': 2, 'default_hooks.logger.interval': 1}
        options |= {'default_hooks.checkpoint.interval': 2, 'default_hooks.checkpoint.save_best': None}
        options['visualizer.name'] = name  # one object a name and process: it would write into the last test's folder
        typed = small_models.command_line(options)
        assert call_tool('train.py', name, '--work-dir', 'run', '--seed', 0, '--cfg-options', *typed) == 0
        log = next((tmp_path / 'run').glob('*/vis_data/scalars.json')).read_text()
        return typed, [json.loads(line) for line in log.splitlines()]

    return run


@pytest.mark.parametrize('name', MODELS)
def test_train_and_test__two_iterations(train, call_tool, tmp_path, name):
    options, log = train(name)
    losses = [line['loss'] for line in log if 'loss' in line]
    assert len(losses) == 2 and all(math.isfinite(loss) and loss > 0 for loss in losses)
    measured = {'PQ', 'mIoU'} if 'mapillary-1024' in name else {'PQ', 'AP', 'mIoU'}
    assert measured <= set(log[-1]) and ('AP' in log[-1]) == ('AP' in measured)
    if name in SLOW:
        assert call_tool('test.py', name, 'run/iter_2.pth', '--work-dir', 'out', '--cfg-options', *options) == 0
        found = json.loads((tmp_path / 'out/results.json').read_text())
        own = {key: value for key, value in found['metrics']['own'].items() if value is not None}
        assert found['num_images'] == 2 and measured <= set(own)
        assert own == pytest.approx({key: log[-1][key] for key in own}, abs=1e-5)  # float32 on the way into the log
