"""Trainings that are stopped, go on with other settings, or must not go on; on a toy model."""

import os
import re
import shutil
import signal

import pytest
import torch

from mmseg_oneformer.engine.stopping import REQUEUE

OLD, NEW = 0.01, 0.004


@pytest.fixture
def val_config(toy_config):
    return toy_config.with_name('toy_val_config.py')


def lines(path):
    """Lines by the iteration that they begin with; a resumed run overwrites what the killed one computed twice."""
    return {int(line.split()[0]): line.split()[1] for line in path.read_text().splitlines()}


def checkpoint(work_dir, name='iter_7.pth'):
    return torch.load(work_dir / name, weights_only=False)


def assert_same_run(one, two):
    for name in ('losses.txt', 'scores.txt'):
        if (one / name).exists():
            assert lines(one / name) == lines(two / name)
    assert sorted(path.name for path in one.glob('*.pth')) == sorted(path.name for path in two.glob('*.pth'))
    for path in one.glob('*.pth'):
        expected, actual = checkpoint(one, path.name)['state_dict'], checkpoint(two, path.name)['state_dict']
        assert all(torch.equal(expected[key], actual[key]) for key in expected)


def error_of(status, capsys):
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    assert status == 2
    assert len(errors) == 1
    return errors[0]


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('name', ['SIGTERM', 'SIGUSR1'])
def test_stop__saves_at_the_end_of_the_iteration(call_tool, val_config, tmp_path, capsys, name, workers):
    before = signal.getsignal(signal.SIGTERM)
    assert call_tool('train.py', val_config, '--work-dir', 'whole') == 0
    options = ('--cfg-options', f'train_dataloader.num_workers={workers}')
    told = f'custom_hooks.0.signal_after={{3:{{0:"{name}"}}}}'
    assert call_tool('train.py', val_config, '--work-dir', 'parts', *options, told) == REQUEUE == 75
    assert f'{name}: stopped after iteration 3 of 7; iter_3.pth is saved, --resume continues' in capsys.readouterr().out
    assert checkpoint(tmp_path / 'parts', 'iter_3.pth')['meta']['iter'] == 3
    assert signal.getsignal(signal.SIGTERM) == before
    assert call_tool('train.py', val_config, '--work-dir', 'parts', '--resume', *options) == 0
    assert_same_run(tmp_path / 'whole', tmp_path / 'parts')


def test_stop__waits_for_the_end_of_an_accumulated_step(call_tool, toy_config, tmp_path):
    options = ('--cfg-options', 'optim_wrapper.accumulative_counts=2')
    told = 'custom_hooks.0.signal_after={3:{0:"SIGTERM"}}'
    assert call_tool('train.py', toy_config, '--work-dir', 'w', *options, told) == REQUEUE
    assert [path.name for path in (tmp_path / 'w').glob('*.pth')] == ['iter_4.pth']


EMA = 'custom_hooks=[dict(type="Record"{}),dict(type="EMAHook",momentum=0.1)]'


@pytest.mark.parametrize('iteration', [2, 4, 6, 7])
@pytest.mark.parametrize('how', ['raise_in_val', 'signal_in_val'])
def test_validation__that_was_stopped_is_done_on_resuming(call_tool, val_config, tmp_path, capsys, iteration, how):
    assert call_tool('train.py', val_config, '--work-dir', 'whole', '--cfg-options', EMA.format('')) == 0
    told = EMA.format(f',{how}={iteration}')
    status = call_tool('train.py', val_config, '--work-dir', 'parts', '--cfg-options', told)
    assert status == (130 if how == 'raise_in_val' else REQUEUE)
    done = (tmp_path / 'parts/scores.txt').read_text().split() if iteration > 2 else []
    assert str(iteration) not in done
    assert call_tool('train.py', val_config, '--work-dir', 'parts', '--resume', '--cfg-options', EMA.format('')) == 0
    assert f'The validation at iteration {iteration} was not finished' in capsys.readouterr().out
    assert_same_run(tmp_path / 'whole', tmp_path / 'parts')
    hubs = [checkpoint(tmp_path / name)['message_hub']['runtime_info'] for name in ('whole', 'parts')]
    assert hubs[0]['best_score'] == hubs[1]['best_score']


def test_validation__that_was_finished_is_not_done_again(call_tool, val_config, tmp_path):
    assert call_tool('train.py', val_config, '--work-dir', 'w', '--cfg-options', 'custom_hooks.0.raise_after=5') == 130
    assert call_tool('train.py', val_config, '--work-dir', 'w', '--resume') == 0
    assert [line.split()[0] for line in (tmp_path / 'w/scores.txt').read_text().splitlines()] == ['2', '4', '6', '7']


def test_resume__in_a_copy_uses_and_changes_the_copy(call_tool, val_config, tmp_path):
    assert (
        call_tool('train.py', val_config, '--work-dir', 'old', '--cfg-options', 'custom_hooks.0.raise_after=5') == 130
    )
    shutil.copytree(tmp_path / 'old', tmp_path / 'copy')
    before = {path.name: path.read_bytes() for path in (tmp_path / 'old').glob('*.pth')}
    (tmp_path / 'old/iter_4.pth').write_bytes(b'damaged since')
    assert call_tool('train.py', val_config, '--work-dir', 'copy', '--resume') == 0
    (tmp_path / 'old/iter_4.pth').write_bytes(before['iter_4.pth'])
    assert {path.name: path.read_bytes() for path in (tmp_path / 'old').glob('*.pth')} == before
    assert call_tool('train.py', val_config, '--work-dir', 'whole') == 0
    assert_same_run(tmp_path / 'whole', tmp_path / 'copy')


def rates(work_dir):
    """Learning rates by iteration, from all logs of a run."""
    found = {}
    for path in sorted(work_dir.glob('*/*.log')):
        for line in path.read_text().splitlines():
            if match := re.search(r'Iter\(train\) \[(\d)/7\].* lr: (\S+)', line):
                found[int(match[1])] = match[2]
    return found


@pytest.mark.parametrize('schedule', ['PolyLR', 'both'])
def test_resume__with_a_lower_learning_rate(call_tool, toy_config, tmp_path, capsys, schedule):
    both = 'param_scheduler=[dict(type="LinearLR",begin=0,end=3,start_factor=0.1,by_epoch=False),'
    both += 'dict(type="PolyLR",begin=3,end=7,power=0.9,eta_min=0.0001,by_epoch=False)]'
    options = [both] if schedule == 'both' else []
    lower = f'optim_wrapper.optimizer.lr={NEW}'
    stop = 'custom_hooks.0.raise_after=5'
    assert call_tool('train.py', toy_config, '--work-dir', 'w', '--cfg-options', stop, *options) == 130
    old = checkpoint(tmp_path / 'w', 'iter_4.pth')
    assert call_tool('train.py', toy_config, '--work-dir', 'w', '--resume', '--cfg-options', lower, *options) == 0
    assert f'The optimiser continues with lr {NEW} instead of {OLD}, as the config says.' in capsys.readouterr().out
    assert call_tool('train.py', toy_config, '--work-dir', 'new', '--cfg-options', lower, *options) == 0
    expected, actual = checkpoint(tmp_path / 'new'), checkpoint(tmp_path / 'w')
    for key in ('lr', 'initial_lr'):
        values = [group[key] for one in (expected, actual) for group in one['optimizer']['param_groups']]
        assert values[: len(values) // 2] == values[len(values) // 2 :]
        assert values != [group[key] for group in old['optimizer']['param_groups']] * 2
    for one, other in zip(expected['param_schedulers'], actual['param_schedulers']):
        assert {key: one[key] for key in ('base_values', 'last_step', '_global_step', '_last_value')} == {
            key: other[key] for key in ('base_values', 'last_step', '_global_step', '_last_value')
        }
    assert {k: v for k, v in rates(tmp_path / 'new').items() if k > 4} == {
        k: v for k, v in rates(tmp_path / 'w').items() if k > 4
    }


def test_resume__with_another_weight_decay(call_tool, toy_config, tmp_path):
    assert call_tool('train.py', toy_config, '--work-dir', 'w', '--cfg-options', 'custom_hooks.0.raise_after=5') == 130
    other = 'optim_wrapper.optimizer.weight_decay=0.2'
    assert call_tool('train.py', toy_config, '--work-dir', 'w', '--resume', '--cfg-options', other) == 0
    decays = {group['weight_decay'] for group in checkpoint(tmp_path / 'w')['optimizer']['param_groups']}
    assert decays == {0.0, 0.2}


@pytest.mark.parametrize(
    ('option', 'words'),
    [
        ('train_dataloader.batch_size=2', '2 images per iteration instead of 3'),
        ('train_dataloader.dataset.size=9', '9 training photos instead of 11'),
    ],
)
def test_resume__other_samples_are_told(call_tool, toy_config, capsys, option, words):
    assert call_tool('train.py', toy_config, '--work-dir', 'w', '--cfg-options', 'custom_hooks.0.raise_after=5') == 130
    assert call_tool('train.py', toy_config, '--work-dir', 'w', '--resume', '--cfg-options', option) == 0
    said = f'warning: This run has {words} in the checkpoint; the run continues with other samples.'
    assert said in capsys.readouterr().out


SGD = 'optim_wrapper.optimizer=dict(type="SGD",lr=0.01,momentum=0.9,weight_decay=0.05,_delete_=True)'


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        ([SGD], 'another optimiser (AdamW) than the config (SGD)'),
        (['optim_wrapper.optimizer.type=Adam'], 'another optimiser (AdamW) than the config (Adam)'),
        (['optim_wrapper.optimizer.amsgrad=True'], 'another optimiser (AdamW)'),
        (['train_dataloader.dataset.classes=["a","c"]'], 'trained with other classes than the data have (b, not c)'),
        (['param_scheduler.power=2.0'], 'has power 2.0 in the config and 0.9 in the checkpoint'),
        (['param_scheduler.end=9'], 'ends at iteration 7, that of the config at 9'),
        (['param_scheduler=[]'], 'The checkpoint has 1 schedulers and param_scheduler of the config 0'),
    ],
)
def test_resume__as_another_run_is_rejected(call_tool, toy_config, capsys, options, sentence):
    assert call_tool('train.py', toy_config, '--work-dir', 'w', '--cfg-options', 'custom_hooks.0.raise_after=5') == 130
    status = call_tool('train.py', toy_config, '--work-dir', 'w', '--resume', '--cfg-options', *options)
    assert sentence in error_of(status, capsys)


def test_resume__from_a_best_checkpoint_is_rejected(call_tool, val_config, tmp_path, capsys):
    assert call_tool('train.py', val_config, '--work-dir', 'w') == 0
    best = next((tmp_path / 'w').glob('best_*.pth'))
    status = call_tool('train.py', val_config, '--work-dir', 'w', '--resume', best)
    assert 'holds weights and no state of a training' in error_of(status, capsys)


STOP_AT_NAN = 'custom_hooks=[dict(type="Record"),dict(type="StopAtInvalidLoss")]'


def test_nan__stops_names_the_checkpoint_and_is_replayed(call_tool, toy_config, tmp_path, capsys):
    options = ('--cfg-options', 'train_dataloader.dataset.fault=invalid', 'default_hooks.checkpoint.interval=1')
    error = error_of(call_tool('train.py', toy_config, '--work-dir', 'w', *options, STOP_AT_NAN), capsys)
    iteration = int(re.search(r'loss is nan at iteration (\d)', error)[1])
    good = f'w/iter_{iteration - 1}.pth'
    assert f'resume from {tmp_path}/{good}' in error or f'resume from {good}' in error
    assert [path.name for path in (tmp_path / 'w').glob('iter_*')] == [f'iter_{iteration - 1}.pth']
    stored = f'w/batch_iter_{iteration}_rank_0.pt'
    assert f'--replay {stored} shows where it begins' in error.replace(f'{tmp_path}/', '')
    assert call_tool('train.py', toy_config, '--work-dir', 'w', '--replay', stored) == 0
    shown = capsys.readouterr().out
    assert f'Iteration {iteration - 1}: a batch without photos.\n  1 losses, all finite' in shown
    assert f'Iteration {iteration}: a batch without photos.\n  1 losses, 1 are not finite:\n    loss is nan' in shown


def test_nan__is_never_saved_without_a_hook_that_looks_at_losses(call_tool, toy_config, tmp_path, capsys):
    options = ('train_dataloader.dataset.fault=invalid', 'default_hooks.checkpoint.interval=1')
    error = error_of(call_tool('train.py', toy_config, '--work-dir', 'w', '--cfg-options', *options), capsys)
    assert re.search(r'error: backbone.0.weight is not finite at iteration \d; ', error)
    state = torch.load(next((tmp_path / 'w').glob('iter_*')), weights_only=False)['state_dict']
    assert all(torch.isfinite(value).all() for value in state.values())


def test_nan__after_the_last_iteration_too(call_tool, toy_config, tmp_path, capsys):
    # The gradient of the last iteration is not finite, its loss is.
    options = ('optim_wrapper.optimizer.lr=1e39', 'default_hooks.checkpoint=None', 'train_cfg.max_iters=1')
    status = call_tool('train.py', toy_config, '--work-dir', 'w', '--cfg-options', *options, STOP_AT_NAN)
    assert 'is not finite at iteration 1' in error_of(status, capsys)


@pytest.mark.parametrize('content', [b'x', None])
def test_replay__of_another_file_is_one_sentence(call_tool, toy_config, tmp_path, capsys, content):
    if content:
        (tmp_path / 'batch.pt').write_bytes(content)
    status = call_tool('train.py', toy_config, '--replay', 'batch.pt')
    assert ('broken or not a checkpoint' if content else 'no checkpoint at batch.pt') in error_of(status, capsys)


@pytest.mark.parametrize(
    ('fault', 'sentence'),
    [('kill', 'A loader worker died'), ('stall', 'No batch arrived within 1 seconds, so a loader worker stalls')],
)
def test_worker__that_dies_or_stalls_is_one_sentence(call_tool, toy_config, tmp_path, capsys, fault, sentence):
    options = ('train_dataloader.num_workers=1', f'train_dataloader.dataset.fault={fault}')
    options += ('train_dataloader.timeout=1',) if fault == 'stall' else ()
    error = error_of(call_tool('train.py', toy_config, '--work-dir', 'w', '--cfg-options', *options), capsys)
    assert sentence in error
    assert '--resume' in error


def test_work_dir__leftovers_of_killed_runs_are_removed(call_tool, toy_config, tmp_path):
    (tmp_path / 'w').mkdir()
    gone = os.fork()
    if not gone:
        os._exit(0)
    os.waitpid(gone, 0)
    others = ('.curves.x.png', 'curves.png', f'.notes.{gone}.txt')
    for name in (f'.curves.{gone}.png', f'.iter_2.{gone}.pth', f'.last_checkpoint.{gone}', *others):
        (tmp_path / 'w' / name).touch()
    assert call_tool('train.py', toy_config, '--work-dir', 'w') == 0
    left = {path.name for path in (tmp_path / 'w').iterdir() if path.is_file()}
    assert left == {*others, '.train.lock', 'iter_7.pth', 'last_checkpoint', 'losses.txt', 'toy_config.py'}
