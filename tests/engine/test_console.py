"""What a training and a test print, and that the log file has the rest."""

import json
import logging
import re
import types

import pytest
from mmengine.logging import MMLogger

from mmseg_oneformer.console import say, shorten_console
from mmseg_oneformer.engine import stopwatch
from mmseg_oneformer.engine.console_hook import format_scores

QUICKSTART = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
WIDEST = 100


def log_of(work_dir):
    (log,) = work_dir.glob('*/*.log')
    return log.read_text()


@pytest.fixture
def train_toy(call_tool, toy_config, tmp_path, capsys):
    """Train seven iterations with options; returns the printed lines."""

    def train(*options, resume=(), code=0):
        arguments = ('--work-dir', 'w', *resume, *(['--cfg-options', *options] if options else []))
        assert call_tool('train.py', toy_config, *arguments) == code
        return capsys.readouterr().out.splitlines()

    return train


def test_training__header_lines_and_scores_and_the_rest_in_the_log(run_tool, tmp_path):
    drawn = run_tool('dataset_converters/make_shapes.py', '--out', 'data/shapes', '--train', 12, '--val', 2)
    assert drawn.returncode == 0, drawn.stderr
    options = ('train_cfg.max_iters=8', 'train_cfg.val_interval=4', 'train_dataloader.batch_size=2')
    intervals = ('default_hooks.logger.interval=4', 'default_hooks.checkpoint.interval=4')
    done = run_tool('train.py', QUICKSTART, '--work-dir', 'w', '--cfg-options', *options, *intervals)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    progress = [number for number, line in enumerate(lines) if re.match(r' *\d+/8  loss \d+\.\d+  lr \S+  ', line)]
    assert [lines[number].split('/')[0] for number in progress] == ['4', '5', '8']
    assert progress[0] <= 15, 'lines before the first iteration'
    header = '\n'.join(lines[: progress[0]])
    assert f'Training {QUICKSTART}\n' in header
    for facts in (
        ('4 things (ball, box, cone, star), 3 stuff', '12 photos', '2 an iteration', '2 photos', 'every 4 iterations'),
        ('8 iterations (1.33 passes), AdamW, learning rate 0.0006, seed 0', 'CPU', 'random weights', 'w/20'),
    ):
        assert all(fact in header for fact in facts)
    assert re.search(r' \d\.\d\d s/iter .*0:00:\d\d left', lines[progress[-1]])
    assert any(re.fullmatch(r'validation at 4:  PQ \d+\.\d  .*mIoU \d+\.\d', line) for line in lines)
    assert {'saved iter_4.pth', 'saved iter_8.pth', 'saved best_PQ_iter_4.pth (best so far)'} <= set(lines)
    assert lines[-1].startswith('Trained 8 iterations in 0:00:')
    assert max(map(len, lines)) <= WIDEST
    assert '\r' not in done.stdout + done.stderr and '\x1b' not in done.stdout

    log = log_of(tmp_path / 'w')
    for part in ('System environment:', 'Config:\n', 'num_points=256', 'after_train_iter:', 'd0.loss_mask: '):
        assert part in log
    assert 'panoptic quality of each class' in log and 'Saving checkpoint at 8 iterations' in log
    (scalars,) = (tmp_path / 'w').glob('*/vis_data/scalars.json')
    assert [json.loads(line)['step'] for line in scalars.read_text().splitlines()] == [4, 4, 8, 8]


def test_training__resumed(train_toy):
    first = train_toy('custom_hooks.0.raise_after=5', code=130)
    assert 'saved iter_4.pth' in first
    lines = train_toy(resume=['--resume'])
    assert any(line.startswith('  starts from iteration 4 of w/iter_4.pth') for line in lines)
    assert [line.split('/')[0] for line in lines if '/7  loss' in line] == ['5', '6', '7']
    assert lines[-1].startswith('Trained 3 iterations in')


def test_training__the_users_hooks_are_the_users(train_toy):
    lines = train_toy('default_hooks.logger=None', 'default_hooks.timer=None', 'default_hooks.checkpoint=None')
    assert [line.split('/')[0] for line in lines if '/7  loss' in line] == ['5', '7']
    assert not [line for line in lines if line.startswith('saved')]


def test_training__debug_shows_the_whole_log(train_toy):
    lines = train_toy('log_level=DEBUG')
    assert any('System environment:' in line for line in lines) and any('(train)' in line for line in lines)
    assert not [line for line in lines if line.startswith(('Training', 'Trained', '  schedule'))]


def test_training__warnings_and_mistakes_are_seen(train_toy, capsys):
    train_toy('custom_hooks.0.raise_after=5', code=130)
    lines = train_toy('randomness.seed=4', resume=['--resume'])
    assert any(line.startswith('warning: The value of random seed in the checkpoint "3"') for line in lines)
    assert not [line for line in lines if 'FileClient' in line]
    assert train_toy('train_dataloader.sampler.type=DefaultSampler', code=2)[-1].startswith('The time left')


@pytest.mark.slow
def test_training__the_first_of_two_processes_prints(run_tool, toy_config, tmp_path):
    for resume in ((), ('--resume',)):
        done = run_tool('dist_train.sh', toy_config, 2, '--work-dir', 'w', *resume, env={'PORT': '29731'})
        assert done.returncode == 0, done.stderr
        starts = [line.split(' ')[0] for line in done.stdout.splitlines()]
        assert starts.count('Training') == starts.count('Trained') == starts.count('The') == 1
        assert starts.count('Loads') == len(resume)
        assert len([line for line in done.stdout.splitlines() if line.startswith('7/7')]) == 1 - len(resume)
        assert '2 processes' in done.stdout


def test_console__what_is_said_and_what_is_wrong_in_a_log_with_all(tmp_path, capsys):
    logger = MMLogger.get_instance('run', log_file=str(tmp_path / 'all.log'))
    shorten_console(logger)
    logger.info('Config: of 300 lines')
    say('7 classes are new.')
    logger.warning('The disk is almost full.')
    logger.error('The disk is full.')
    assert capsys.readouterr().out.splitlines() == [
        '7 classes are new.',
        'warning: The disk is almost full.',
        'error: The disk is full.',
    ]
    written = (tmp_path / 'all.log').read_text()
    assert all(part in written for part in ('300 lines', 'are new', 'almost full', 'ERROR'))


def test_console__of_other_loggers_is_as_it_was(capsys):
    logger = MMLogger.get_instance('other', log_level='INFO')
    logger.log(logging.INFO, 'Config: of 300 lines')
    say('7 classes are new.')
    assert capsys.readouterr().out.count(' - mmengine - ') == 2


def test_scores__headlines_and_metrics_of_ones_own():
    metrics = {'PQ': 54.321, 'SQ': 80.0, 'AP50': 9.0, 'mIoU': float('nan'), 'my/score': 7, 'names': ['a']}
    assert format_scores(metrics) == 'PQ 54.3  mIoU nan  my/score 7.0'


def test_stopwatch__the_first_iteration_and_validations_are_left_out(monkeypatch):
    clock = types.SimpleNamespace(now=100.0)
    monkeypatch.setattr(stopwatch.time, 'monotonic', lambda: clock.now)
    watch = stopwatch.Stopwatch(10)

    def iterate(done, waiting, working):
        clock.now += waiting
        watch.begin()
        clock.now += working
        watch.end(done)

    iterate(11, 50.0, 50.0)
    assert watch.recent(11) is None and watch.seconds_left(11, 20) is None
    iterate(12, 1.0, 3.0)
    iterate(13, 1.0, 3.0)
    assert watch.recent(13) == (4.0, 0.25) and watch.seconds_left(13, 20) == 28.0
    clock.now += 6.0
    watch.leave_out(6.0)
    iterate(14, 1.0, 3.0)
    assert watch.recent(14) == (4.0, 0.25), 'seconds an iteration do not count the validation'
    assert watch.seconds_left(14, 20) == 6 * 6.0, 'the time left does'
    watch.mark(14)
    iterate(15, 0.0, 2.0)
    assert watch.recent(15) == (2.0, 0.0)
