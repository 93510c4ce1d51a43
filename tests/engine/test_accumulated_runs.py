"""Gradient accumulation: resuming between updates, and the example of the training page."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmseg_oneformer.zoo.configs import find_config

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize('stop', [2, 3, 5])
def test_accumulation__stopped_and_resumed_is_equal(call_tool, toy_config, tmp_path, stop):
    options = ('--cfg-options', 'optim_wrapper.accumulative_counts=2')
    assert call_tool('train.py', toy_config, '--work-dir', 'whole', *options) == 0
    assert (
        call_tool('train.py', toy_config, '--work-dir', 'parts', *options, f'custom_hooks.0.raise_after={stop}') == 130
    )
    assert call_tool('train.py', toy_config, '--work-dir', 'parts', '--resume', *options) == 0
    whole, parts = (
        torch.load(tmp_path / name / 'iter_7.pth', weights_only=False)['state_dict'] for name in ('whole', 'parts')
    )
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_accumulation__log_says_how_many_updates(call_tool, toy_config, tmp_path):
    options = ('optim_wrapper.accumulative_counts=2', 'default_hooks.checkpoint.interval=-1')
    assert call_tool('train.py', toy_config, '--work-dir', 'w', '--cfg-options', *options) == 0
    log = next((tmp_path / 'w').glob('*/*.log')).read_text()
    assert '7 iterations with accumulative_counts=2 are 4 updates of the weights' in log


def test_training_page__example_makes_as_many_updates(tmp_path):
    page = (ROOT / 'docs/training.md').read_text()
    (snippet,) = (block for block in re.findall(r'```python\n(.*?)```', page, re.DOTALL) if 'accumulative' in block)
    base = re.search(r"'\./(.*?)\.py'", snippet)[1]
    path = tmp_path / 'accumulated.py'
    path.write_text(snippet.replace(f'./{base}.py', str(find_config(base))))
    cfg, published = Config.fromfile(path), Config.fromfile(find_config(base))
    steps = cfg.optim_wrapper.accumulative_counts
    assert cfg.optim_wrapper.optimizer == published.optim_wrapper.optimizer
    assert cfg.train_dataloader.batch_size * steps == published.auto_scale_lr.base_batch_size
    for name in ('max_iters', 'val_interval'):
        assert cfg.train_cfg[name] == steps * published.train_cfg[name]
    (schedule,), (expected,) = cfg.param_scheduler, published.param_scheduler
    assert schedule == {**expected, 'end': steps * (expected['end'] - 1) + 1}
    assert cfg.default_hooks.checkpoint.interval == steps * published.default_hooks.checkpoint.interval
    assert cfg.default_hooks.checkpoint.save_best == published.default_hooks.checkpoint.save_best
