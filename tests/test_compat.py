import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader, save_checkpoint

from mmseg_oneformer.safe.load import safe_load
from mmseg_oneformer.safe.plain_config import is_plain_config

OWNED = []


class Calls:
    """Pickles as a call of ``function(*args)``."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@pytest.fixture
def runner_checkpoint(tmp_path):
    history = HistoryBuffer()
    history.update(1.0)
    history.update(2, 3)
    content = {
        'state_dict': {'weight': torch.ones(2)},
        'meta': {'iter': 2, 'cfg': "model = dict(type='A', lr=-1e-4, names=['a', ('b', 3)])\n", 'seed': 0},
        'message_hub': {'log_scalars': {'loss': history}, 'runtime_info': {'best': np.float32(3), 'n': np.int64(1)}},
        'optimizer': {'state': {0: {'step': torch.tensor(1.0)}}, 'param_groups': [{'lr': 0.1, 'betas': (0.9, 0.99)}]},
    }
    save_checkpoint(content, str(tmp_path / 'iter_2.pth'))
    return tmp_path / 'iter_2.pth'


def test_loader__reads_what_a_runner_writes(runner_checkpoint):
    checkpoint = CheckpointLoader.load_checkpoint(str(runner_checkpoint))
    assert checkpoint['message_hub']['log_scalars']['loss'].statistics('mean') == 0.75
    assert checkpoint['message_hub']['runtime_info']['best'] == 3
    assert 'cfg' in checkpoint['meta']


@pytest.mark.parametrize(
    ('payload', 'named'),
    [
        (Calls(OWNED.append, 1), 'getattr of'),
        (Calls(eval, '__import__("os").getcwd()'), 'eval'),
        (Calls(getattr, HistoryBuffer, '__init__'), "'__init__'"),
        (Calls(getattr, HistoryBuffer, 'statistics'), "'statistics'"),
        (Path('a'), 'pathlib'),
    ],
)
def test_loader__rejects_what_would_run_code(tmp_path, payload, named):
    torch.save({'state_dict': {}, 'extra': payload}, tmp_path / 'evil.pth')
    with pytest.raises(ValueError, match=r'evil\.pth is rejected, since a checkpoint must not run code') as caught:
        CheckpointLoader.load_checkpoint(str(tmp_path / 'evil.pth'))
    assert '\n' not in str(caught.value)
    assert named in str(caught.value)
    assert not OWNED


def test_loader__downloads_are_read_by_the_same_rules(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    (tmp_path / 'checkpoints').mkdir()
    torch.save({'extra': Calls(eval, '1')}, tmp_path / 'checkpoints/evil.pth')
    with pytest.raises(pickle.UnpicklingError):
        CheckpointLoader.load_checkpoint('https://example.org/evil.pth')


@pytest.mark.parametrize('content', [b'', b'no checkpoint', 'half'])
def test_loader__broken_files(tmp_path, runner_checkpoint, content):
    whole = runner_checkpoint.read_bytes()
    (tmp_path / 'broken.pth').write_bytes(whole[: len(whole) // 2] if content == 'half' else content)
    with pytest.raises(ValueError, match=r'broken\.pth is broken or not a checkpoint'):
        safe_load(tmp_path / 'broken.pth')


def test_loader__config_text_that_is_code_is_dropped(tmp_path):
    content = {'meta': {'config': 'import os\n'}, 'message_hub': {'runtime_info': {'cfg': 'a = 1\nopen("x", "w")\n'}}}
    torch.save(content, tmp_path / 'a.pth')
    with pytest.warns(UserWarning, match='is code, not plain settings'):
        checkpoint = safe_load(tmp_path / 'a.pth')
    assert checkpoint == {'meta': {}, 'message_hub': {'runtime_info': {}}}


@pytest.mark.parametrize(
    ('text', 'plain'),
    [
        ("a = dict(b=[1, (2.5, 'c')], d={'e': None}, f=-1, g=1e-4)\nh = True", True),
        ('import os', False),
        ('a = __import__("os")', False),
        ('a = (lambda: 1)()', False),
        ('a = [x for x in ()]', False),
        ('a = dict.__class__', False),
        ('dict = open\na = dict("x", "w")', False),
        ('dict(a=1)\n', False),
        ('a = open', False),
        ('_base_ = "other.py"', False),
        ('def f(): pass', False),
        ('a = (', False),
        (r"a = '{{$UNSET:\047if[open(1)]else\047|Q}}'", False),
    ],
)
def test_is_plain_config(text, plain):
    assert is_plain_config(text) is plain
