import types
from collections import deque
from pathlib import Path

import pytest
import torch
from mmengine.fileio import LocalBackend
from mmengine.registry import MODELS

from mmseg_oneformer.engine.hooks import (
    CheckClasses,
    SafeCheckpointHook,
    StopAtInvalidLoss,
)
from mmseg_oneformer.zoo.work_dirs import latest_checkpoint


class Hub:
    def __init__(self):
        self.runtime_info = {}

    def update_info(self, key, value):
        self.runtime_info[key] = value

    def get_info(self, key):
        return self.runtime_info[key]


class ToyRunner:
    """What a checkpoint hook sees of a Runner; saving can fail as it does when the process is killed."""

    def __init__(self, work_dir):
        self.work_dir, self.message_hub, self.iter, self.epoch = str(work_dir), Hub(), 0, 0
        self.killed = False
        self.logger = types.SimpleNamespace(info=print, warning=print)
        self.model, self.hooks, self.optim_wrapper = torch.nn.Linear(1, 1), [], None

    def save_checkpoint(self, out_dir, filename, *args, **kwargs):
        if self.killed:
            raise KeyboardInterrupt
        (Path(out_dir) / filename).write_text('weights')


@pytest.fixture
def hook(tmp_path):
    hook = SafeCheckpointHook(by_epoch=False, interval=1, max_keep_ckpts=1, save_best='PQ', rule='greater')
    hook.out_dir, hook.file_backend, hook.file_client = str(tmp_path), LocalBackend(), None
    hook.keep_ckpt_ids, hook.best_ckpt_path = deque(maxlen=1), None
    return hook


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_safe_checkpoint__one_is_kept(hook, tmp_path):
    runner = ToyRunner(tmp_path)
    for step in (1, 2, 3):
        hook._save_checkpoint_with_step(runner, step, {})
    assert names(tmp_path) == ['iter_3.pth', 'last_checkpoint']
    assert runner.message_hub.runtime_info['keep_ckpt_ids'] == [3]
    assert latest_checkpoint(tmp_path) == tmp_path / 'iter_3.pth'


def test_safe_checkpoint__killed_while_saving_the_old_one_is_there(hook, tmp_path):
    runner = ToyRunner(tmp_path)
    hook._save_checkpoint_with_step(runner, 1, {})
    runner.killed = True
    with pytest.raises(KeyboardInterrupt):
        hook._save_checkpoint_with_step(runner, 2, {})
    assert names(tmp_path) == ['iter_1.pth', 'last_checkpoint']
    assert latest_checkpoint(tmp_path) == tmp_path / 'iter_1.pth'


def test_safe_checkpoint__the_best_is_replaced_after_saving(hook, tmp_path):
    runner = ToyRunner(tmp_path)
    runner.iter = 1
    hook._save_best_checkpoint(runner, {'PQ': 10.0})
    runner.iter, runner.killed = 2, True
    with pytest.raises(KeyboardInterrupt):
        hook._save_best_checkpoint(runner, {'PQ': 20.0})
    assert names(tmp_path) == ['best_PQ_iter_1.pth']
    hook.best_ckpt_path = str(tmp_path / 'best_PQ_iter_1.pth')
    runner.killed = False
    hook._save_best_checkpoint(runner, {'PQ': 30.0})
    assert names(tmp_path) == ['best_PQ_iter_2.pth']


def test_safe_checkpoint__a_resumed_run_writes_the_same_best_again(hook, tmp_path):
    runner = ToyRunner(tmp_path)
    runner.iter = 1
    hook._save_best_checkpoint(runner, {'PQ': 10.0})
    hook._save_best_checkpoint(runner, {'PQ': 11.0})
    assert names(tmp_path) == ['best_PQ_iter_1.pth']


def test_safe_checkpoint__metric_of_the_best_is_not_measured(hook, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr('mmseg_oneformer.engine.hooks.print_log', lambda text, *args, **kwargs: said.append(text))
    hook._save_best_checkpoint(ToyRunner(tmp_path), {'mIoU': 10.0, 'mAcc': 20.0})
    assert not names(tmp_path)
    assert said == [
        'val_evaluator does not measure PQ, so no best checkpoint is kept; set default_hooks.checkpoint.save_best to '
        'one of mIoU, mAcc.'
    ]


def test_safe_checkpoint__measuring_before_training_keeps_nothing(tmp_path):
    hook = SafeCheckpointHook(by_epoch=False, interval=1, save_best='PQ', rule='greater')
    hook.after_val_epoch(ToyRunner(tmp_path), {'PQ': 10.0})  # Runner.val() alone
    assert not any(tmp_path.iterdir())


def test_latest_checkpoint__stale_pointer_moved_folder_and_nothing(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    for name in ('iter_90.pth', 'iter_100.pth', 'best_PQ_iter_200.pth', 'other.pth'):
        (tmp_path / name).touch()
    assert latest_checkpoint(tmp_path) == tmp_path / 'iter_100.pth'
    pointer = tmp_path / 'last_checkpoint'
    pointer.write_text('')  # What a kill between opening and writing leaves.
    assert latest_checkpoint(tmp_path) == tmp_path / 'iter_100.pth'
    pointer.write_text('/elsewhere/iter_90.pth')
    assert latest_checkpoint(tmp_path) == tmp_path / 'iter_90.pth'
    pointer.write_text('/elsewhere/iter_95.pth')
    assert latest_checkpoint(tmp_path) == tmp_path / 'iter_100.pth'


def test_stop_at_invalid_loss__names_the_term():
    hook = StopAtInvalidLoss(interval=1)
    runner = types.SimpleNamespace(iter=4, max_iters=9, work_dir='w')
    hook.after_train_iter(runner, 4, outputs={'loss': torch.ones(3), 'note': 'text'})
    with pytest.raises(ValueError, match='loss_mask is nan at iteration 5'):
        hook.after_train_iter(
            runner, 4, outputs={'loss': torch.ones(1), 'loss_mask': torch.tensor([1.0, float('nan')])}
        )


@pytest.fixture(scope='module')
def model():
    return MODELS.build(
        {
            'type': 'OneFormer',
            'backbone': {'type': 'mmdet.ResNet', 'depth': 18, 'base_channels': 8},
            'head': {
                'num_classes': 3,
                'num_queries': 4,
                'channels': 32,
                'pixel_decoder': {'in_channels': (8, 16, 32, 64), 'num_layers': 1},
                'decoder': {'num_layers': 1},
            },
            'thing_ids': (0, 2),
        }
    )


def runner_with(model, **metainfo):
    dataset = types.SimpleNamespace(metainfo=metainfo)
    loop = types.SimpleNamespace(dataloader=types.SimpleNamespace(dataset=dataset))
    return types.SimpleNamespace(model=model, train_loop=loop, val_loop=loop, test_loop=loop)


@pytest.mark.parametrize('when', ['before_train', 'before_val', 'before_test'])
def test_check_classes__model_and_data_disagree(model, when):
    check = getattr(CheckClasses(), when)
    check(runner_with(model, classes=('a', 'b', 'c'), thing_ids=(2, 0)))
    with pytest.raises(ValueError, match='the model has 3 classes and the data have 4'):
        check(runner_with(model, classes=('a', 'b', 'c', 'd'), thing_ids=(0, 2)))
    with pytest.raises(ValueError, match='thing_ids'):
        check(runner_with(model, classes=('a', 'b', 'c'), thing_ids=(0, 1)))


def test_check_classes__other_models_are_left_alone():
    CheckClasses().before_train(runner_with(torch.nn.Linear(1, 1), classes=('a',)))


def test_safe_checkpoint__the_last_three_are_kept(hook, tmp_path):
    hook.max_keep_ckpts, hook.keep_ckpt_ids = 3, deque(maxlen=3)
    runner = ToyRunner(tmp_path)
    for step in (2, 4, 6, 8, 10):
        hook._save_checkpoint_with_step(runner, step, {})
        steps = sorted(int(path.stem[5:]) for path in tmp_path.glob('iter_*.pth'))
        assert steps == [2, 4, 6, 8, 10][max(0, step // 2 - 3) : step // 2]
