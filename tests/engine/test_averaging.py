"""EMAHook with our loop and checkpoints: what is averaged, saved, resumed and loaded."""

import json
import re
import socket
from pathlib import Path

import pytest
import torch

from mmseg_oneformer.apis import OneFormerInferencer
from mmseg_oneformer.checkpoints.checkpoint import read_checkpoint
from mmseg_oneformer.zoo.configs import find_config

ROOT = Path(__file__).resolve().parents[2]
MODEL = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
MOMENTUM = 0.2


@pytest.fixture
def averaging(toy_config, tmp_path):
    """The toy config with EMAHook."""

    def write(**options):
        path = tmp_path / 'averaging.py'
        hook = {'type': 'EMAHook', 'momentum': MOMENTUM, **options}
        path.write_text(f"_base_ = '{toy_config}'\ncustom_hooks = [*_base_.custom_hooks, {hook}]\n")
        return path

    return write


def checkpoint(work_dir, iteration=7):
    return torch.load(Path(work_dir) / f'iter_{iteration}.pth', weights_only=False)


def last(state):
    """Weights of the last step, which EMAHook stores beside the average."""
    return {key.removeprefix('module.'): value for key, value in state['ema_state_dict'].items() if key != 'steps'}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    assert [key for key in one if not torch.equal(one[key], other[key])] == []


def test_average__is_the_weighted_mean_of_all_steps(call_tool, averaging, toy_config):
    every = ('--cfg-options', 'default_hooks.checkpoint.interval=1', 'default_hooks.checkpoint.max_keep_ckpts=-1')
    assert call_tool('train.py', toy_config, '--work-dir', 'plain', *every) == 0
    assert call_tool('train.py', averaging(), '--work-dir', 'averaged', *every) == 0
    steps = [checkpoint('plain', i)['state_dict'] for i in range(1, 8)]
    found = checkpoint('averaged')
    assert_equal(last(found), steps[-1])
    for key in ('backbone.0.weight', 'head.1.bias'):
        mean = steps[0][key].double()
        for step in steps[1:]:
            mean = (1 - MOMENTUM) * mean + MOMENTUM * step[key]
        torch.testing.assert_close(found['state_dict'][key].double(), mean, rtol=1e-5, atol=1e-7)
        assert not torch.equal(found['state_dict'][key], steps[-1][key])
    assert torch.equal(found['state_dict']['backbone.1.running_mean'], steps[-1]['backbone.1.running_mean'])


@pytest.mark.parametrize('options', [{}, {'update_buffers': True}, {'begin_iter': 3}], ids=str)
def test_average__stopped_and_resumed_is_equal(call_tool, averaging, options):
    config = averaging(**options)
    assert call_tool('train.py', config, '--work-dir', 'whole') == 0
    stop = ('--cfg-options', 'custom_hooks.0.raise_after=5')
    assert call_tool('train.py', config, '--work-dir', 'parts', *stop) == 130
    assert call_tool('train.py', config, '--work-dir', 'parts', '--resume') == 0
    whole, parts = checkpoint('whole'), checkpoint('parts')
    assert_equal(whole['state_dict'], parts['state_dict'])
    assert_equal(whole['ema_state_dict'], parts['ema_state_dict'])


def test_average__is_not_trained_on_without_the_hook(call_tool, averaging, toy_config, capsys):
    assert call_tool('train.py', averaging(), '--work-dir', 'w') == 0
    assert call_tool('train.py', toy_config, '--work-dir', 'v', '--resume', 'w/iter_7.pth') == 2
    assert 'iter_7.pth is of a run with EMAHook' in capsys.readouterr().err
    assert call_tool('train.py', toy_config, '--work-dir', 'v', '--cfg-options', 'load_from=w/iter_7.pth') == 0


@pytest.mark.slow
def test_average__two_processes_resume_equal(run_tool, averaging, tmp_path):
    def train(work_dir, *args):
        with socket.socket() as server:
            server.bind(('127.0.0.1', 0))
            port = str(server.getsockname()[1])
        done = run_tool('dist_train.sh', averaging(), 2, '--work-dir', work_dir, *args, env={'PORT': port})
        assert done.returncode == 0, done.stderr

    train('whole')
    train('parts', '--cfg-options', 'train_cfg.max_iters=4')
    train('parts', '--resume')
    whole, parts = checkpoint(tmp_path / 'whole'), checkpoint(tmp_path / 'parts')
    assert_equal(whole['state_dict'], parts['state_dict'])
    assert_equal(whole['ema_state_dict'], parts['ema_state_dict'])


@pytest.mark.slow
def test_training_page__averages_from_training_to_inference(call_tool, tmp_path):
    """The snippet of the page: validation, tools/test.py and the inferencer see the averaged weights."""
    page = (ROOT / 'docs/training.md').read_text()
    (snippet,) = (block for block in re.findall(r'```python\n(.*?)```', page, re.DOTALL) if 'EMAHook' in block)
    config = tmp_path / f'{MODEL}.py'
    base = re.search(r"'(\./.*?)'", snippet)[1]
    # A momentum that a few steps show.
    config.write_text(snippet.replace(base, str(find_config(MODEL))).replace('0.0002', '0.3'))
    assert call_tool('dataset_converters/make_shapes.py', '--out', 'data/shapes', '--train', 4, '--val', 2) == 0
    short = [f'{part}_dataloader.{key}' for part in ('train', 'val', 'test') for key in ('num_workers=0',)]
    short += [f'{part}_dataloader.persistent_workers=False' for part in ('train', 'val', 'test')]
    train = ('train_cfg.max_iters=3', 'train_cfg.val_interval=3', 'train_dataloader.batch_size=2')
    train += ('default_hooks.checkpoint.interval=3', 'optim_wrapper.optimizer.lr=0.003')
    start = ('--fine-tune-from', MODEL)
    assert call_tool('train.py', config, '--work-dir', 'w', *start, '--cfg-options', *short, *train) == 0
    log = next((tmp_path / 'w').glob('*/vis_data/scalars.json')).read_text()
    validated = json.loads(log.splitlines()[-1])
    for name in ('averaged', 'last'):
        ema = ('--ema', name)
        assert call_tool('model_converters/publish_model.py', config, 'w/iter_3.pth', f'{name}.safetensors', *ema) == 0
    scores = {}
    for weights in ('w/iter_3.pth', 'averaged.safetensors', 'last.safetensors'):
        assert call_tool('test.py', config, weights, '--work-dir', 'out', '--cfg-options', *short) == 0
        scores[weights] = json.loads((tmp_path / 'out/results.json').read_text())['metrics']['own']
    assert scores['w/iter_3.pth'] == scores['averaged.safetensors']
    assert scores['w/iter_3.pth']['mIoU'] == pytest.approx(validated['mIoU'], abs=0.01)
    assert scores['w/iter_3.pth']['mIoU'] != pytest.approx(scores['last.safetensors']['mIoU'], abs=0.01)
    state = OneFormerInferencer(config, 'w/iter_3.pth', device='cpu').model.state_dict()
    averaged = read_checkpoint('averaged.safetensors')['state_dict']
    assert all(torch.equal(state[key], averaged[key]) for key in state)
