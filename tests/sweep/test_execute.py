import json
import multiprocessing
import os
import signal
import threading
from pathlib import Path

import pytest
import torch

from mmseg_oneformer.sweep import (
    FAILED,
    FINISHED,
    RUNNING,
    WAITING,
    Launch,
    deal_devices,
    execute,
    run_here,
    state_of,
)
from mmseg_oneformer.sweep.execute import forgive, is_locked, last_error, read_state, run_lock
from mmseg_oneformer.sweep.local import job_environment


def lives(pid):
    """Whether a process runs (one that has ended and was not waited for does not)."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def test_execute__trains_tests_and_is_done_once(plan, launch, environment, stop, steps_of, results_of):
    (run,) = plan(seeds=(3,))
    assert state_of(run) == WAITING
    assert execute(run, launch, environment, stop) == FINISHED == state_of(run)
    assert steps_of(run) == [1, 2, 3, 4]
    assert results_of(run)['checkpoint'].endswith('seed3/iter_4.pth')
    assert execute(run, launch, environment, stop) == FINISHED
    assert steps_of(run) == [1, 2, 3, 4]


def test_execute__stopped_goes_on_where_it_was(plan, launch, environment, stop, steps_of, wait_for):
    (run,) = plan(options=('hold=2',))
    seen = run.folder / 'iter_2.pth'
    threading.Thread(target=lambda: (wait_for(seen.exists), stop.set())).start()
    assert execute(run, launch, environment, stop) == WAITING == state_of(run)
    assert not lives((run.folder / 'pid').read_text())
    assert steps_of(run) == [1, 2]
    assert execute(run, launch, environment, threading.Event()) == FINISHED
    assert steps_of(run) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ('behave', 'step', 'error'),
    [
        ('fail', 'train', 'error: the disk is full.'),
        ('die', 'train', 'killed by SIGKILL'),
        ('forget', 'train', 'train.py ended without a checkpoint'),
        ('untestable', 'test', 'error: no such data.'),
        ('mute', 'test', 'test.py ended without results.json'),
    ],
)
def test_execute__failure_is_noted(plan, launch, environment, stop, behave, step, error):
    (run,) = plan(options=(f'behave={behave}',))
    assert execute(run, launch, environment, stop) == FAILED == state_of(run)
    state = read_state(run.folder)
    assert (state['step'], state['error']) == (step, error)
    forgive(run)
    assert state_of(run) == WAITING


def test_execute__after_a_failed_test_only_the_test_is_repeated(plan, launch, environment, stop, steps_of):
    (run,) = plan(options=('behave=untestable',))
    assert execute(run, launch, environment, stop) == FAILED
    (run.folder / 'train.log').unlink()
    (run.folder / 'mended').touch()
    forgive(run)
    assert execute(run, launch, environment, stop) == FINISHED
    assert not (run.folder / 'train.log').exists()

    (other,) = plan(seeds=(1,), options=('behave=untestable',))
    execute(other, launch, environment, stop)
    for checkpoint in other.folder.glob('iter_*.pth'):
        checkpoint.unlink()
    (other.folder / 'mended').touch()
    forgive(other)
    assert execute(other, launch, environment, stop) == FINISHED
    assert steps_of(other) == [1, 2, 3, 4] * 2, 'without its checkpoint it has to train again'


def test_run_here__failures_do_not_stop_the_others(plan, launch):
    runs = plan(seeds=(0, 1), options=('behave=fail', 'behave=well'))
    reports = []
    states = run_here(runs, launch, ['', ''], lambda run, what: reports.append((run, what)))
    assert [states[run] for run in runs] == [FAILED, FAILED, FINISHED, FINISHED]
    assert sorted(what for _, what in reports) == sorted(['starts', FAILED] * 2 + ['starts', FINISHED] * 2)


def test_run_here__at_most_so_many_at_a_time(plan, launch):
    running, most, lock = set(), [0], threading.Lock()

    def report(run, what):
        with lock:
            running.add(run) if what == 'starts' else running.discard(run)
            most[0] = max(most[0], len(running))

    run_here(plan(seeds=range(5)), launch, ['', ''], report)
    assert most[0] == 2


@pytest.fixture
def interruptible():
    """Hear Ctrl-C, which what a shell has put into the background does not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures('interruptible')
def test_run_here__interrupted_ends_its_processes(plan, launch, steps_of, wait_for):
    runs = plan(seeds=(0, 1), options=('hold=1',))

    def interrupt():
        wait_for(lambda: all((run.folder / 'iter_1.pth').exists() for run in runs))
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        run_here(runs, launch, ['', ''])
    assert [state_of(run) for run in runs] == [WAITING] * 2
    assert not any(lives((run.folder / 'pid').read_text()) for run in runs)
    assert set(run_here(runs, launch, ['', '']).values()) == {FINISHED}
    assert [steps_of(run) for run in runs] == [[1, 2, 3, 4]] * 2


def test_lock__outlives_the_sweep_that_was_killed(plan, launch, environment, stop, steps_of, wait_for):
    """SIGKILL leaves the training alone: the next sweep waits for it and then takes the run over."""
    (run,) = plan(options=('hold=1',))
    sweep = multiprocessing.get_context('fork').Process(target=execute, args=(run, launch, environment, stop))
    sweep.start()
    wait_for((run.folder / 'iter_1.pth').exists)
    sweep.kill()
    sweep.join()
    assert lives((run.folder / 'pid').read_text()) and is_locked(run.folder) and state_of(run) == RUNNING
    assert execute(run, launch, environment, threading.Event()) == RUNNING
    reports = []

    def report(_, what):
        reports.append(what)
        (run.folder / 'go').touch()

    assert run_here([run], launch, [''], report) == {run: FINISHED}
    assert reports == ['another process is running it; waiting', 'starts', FINISHED]
    assert steps_of(run) == [1, 2, 3, 4]


def test_lock__is_exclusive_and_names_its_owner(tmp_path):
    assert not is_locked(tmp_path)
    with run_lock(tmp_path) as mine:
        assert mine is not None and is_locked(tmp_path)
        with run_lock(tmp_path) as second:
            assert second is None
        assert (tmp_path / 'lock').read_text().split()[1] == str(os.getpid())
    assert not is_locked(tmp_path)


def test_devices__are_dealt_out(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 4)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    assert deal_devices(None, None) == (['0', '1', '2', '3'], 1)
    assert deal_devices(None, 2) == (['0,1', '2,3'], 2)
    assert deal_devices(1, 3) == (['0,1,2'], 3)
    assert deal_devices(2, 0) == (['', ''], 0)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '7,5,3,1')
    assert deal_devices(2, 2) == (['7,5', '3,1'], 2)
    for jobs, gpus, message in ((3, 2, '3 jobs with 2 GPUs'), (None, 5, 'the 4 GPUs'), (0, 1, 'at least 1')):
        with pytest.raises(ValueError, match=message):
            deal_devices(jobs, gpus)


def test_devices__without_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)
    assert deal_devices(None, None) == ([''], 0)
    assert deal_devices(3, None) == ([''] * 3, 0)


def test_run_here__environment_of_a_job(plan, launch, monkeypatch):
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    monkeypatch.setattr(os, 'cpu_count', lambda: 8)
    (run,) = plan()
    run_here([run], launch, ['2,3'])
    found = json.loads((run.folder / 'environment.json').read_text())
    assert (found['CUDA_VISIBLE_DEVICES'], found['OMP_NUM_THREADS']) == ('2,3', '4')
    assert 0 < int(found['PORT']) < 65536
    assert job_environment('', 3)['OMP_NUM_THREADS'] == '2'


def test_launch__commands(plan, tools):
    (run,) = plan(seeds=(2,), options=('a=1 b=2',))
    alone = Launch(tools, python='py')
    assert alone.train(run) == [
        *('py', f'{tools}/train.py', run.config, '--work-dir', str(run.folder), '--resume'),
        *('--seed', '2', '--cfg-options', 'a=1', 'b=2'),
    ]
    several = Launch(tools, gpus=2, amp=True, python='py')
    assert several.train(run)[:4] == ['bash', f'{tools}/dist_train.sh', run.config, '2']
    assert '--amp' in several.train(run)
    assert several.test(run, 'c.pth')[:5] == ['bash', f'{tools}/dist_test.sh', run.config, 'c.pth', '2']
    assert f'{run.folder}/results.json' in several.test(run, 'c.pth')


def test_last_error__what_went_wrong(tmp_path):
    log = tmp_path / 'log'
    for text, expected in (
        ('', ''),
        ('one\ntwo\n\n', 'two'),
        ('error: first.\nerror: second.\nbye\n', 'error: second.'),
        (
            '  File "x.py"\ntorch.OutOfMemoryError: CUDA out of memory\nroot cause above\n',
            'torch.OutOfMemoryError: CUDA out of memory',
        ),
    ):
        log.write_text(text)
        assert last_error(log) == expected
