"""tools/sweep.py as a user meets it: exit status, what is printed, the cluster."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'


@pytest.fixture
def sweep(tools, config, tmp_path, monkeypatch):
    """Call the tool with the stand-ins and return its exit status."""
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location('tool_sweep', ROOT / 'tools/sweep.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.TOOLS = tools
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}

    def call(*args):
        try:
            module.main([str(arg) for arg in (config, *args)])
        except SystemExit as stop:
            return stop.code or 0
        return 0

    yield call
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_sweep__runs_and_sums_up(sweep, tmp_path, capsys, steps_of):
    assert sweep('--seeds', 0, 1, '--work-dir', 'w', '--gpus', 0) == 0
    output = capsys.readouterr().out
    assert '2 runs: 0 waiting, 0 running, 2 finished, 0 failed' in output
    assert 'small                 2/2  50.5 ± 0.7' in output
    stamp = (tmp_path / 'w/small/default/seed0/train.log').stat().st_mtime_ns
    assert sweep('--seeds', 0, 1, 2, '--work-dir', 'w', '--gpus', 0) == 0
    assert (tmp_path / 'w/small/default/seed0/train.log').stat().st_mtime_ns == stamp
    assert '51.7 ± 2.1' in capsys.readouterr().out


def test_sweep__failed_runs_wait_to_be_retried(sweep, tmp_path, capsys):
    options = ('--options', 'behave=fail', 'behave=well', '--work-dir', 'w', '--gpus', 0)
    assert sweep(*options) == 1
    output = capsys.readouterr().out
    assert 'train failed: error: the disk is full.' in output and '1 finished, 1 failed' in output
    failed = tmp_path / 'w/small/behave=fail/seed0'
    (failed / 'mended').touch()
    assert sweep(*options) == 1, 'not tried again on its own'
    assert sweep(*options, '--status') == 0
    assert sweep(*options, '--retry-failed') == 0
    assert (failed / 'results.json').is_file()


def test_sweep__dry_run_and_status_touch_nothing(sweep, tmp_path, capsys):
    before = sorted(tmp_path.rglob('*'))
    assert sweep('--seeds', 7, '--dry-run', '--amp', '--options', 'a=1', '--gpus', 0) == 0
    output = capsys.readouterr().out
    assert 'train.py' in output and '--seed 7 --amp --cfg-options a=1' in output and 'test.py' in output
    assert sweep('--seeds', 7, '--status') == 0
    assert 'small  seed 7  waiting' in capsys.readouterr().out
    assert sorted(tmp_path.rglob('*')) == before


@pytest.mark.parametrize(
    ('args', 'sentence'),
    [
        (('--options', 'x'), 'takes KEY=VALUE, not "x"'),
        (('--jobs', 0), '--jobs must be at least 1'),
        (('--launcher', 'sbatch', '--jobs', 2), 'the cluster decides'),
        (('--execute', 'nowhere'), 'nowhere is not a run of a sweep'),
    ],
)
def test_sweep__mistake_is_one_sentence(sweep, capsys, args, sentence):
    assert sweep(*args) == 2
    assert sentence in capsys.readouterr().err


CLUSTER = {
    'sbatch': """#!/bin/sh
[ -e refuse ] && { echo "Invalid account" >&2; exit 1; }
number=$(cat queue 2>/dev/null | wc -l)
echo "$@" >> submitted; echo "$((number + 40))" >> queue; echo "$((number + 40));cluster"
""",
    'squeue': '#!/bin/sh\ncat queue 2>/dev/null; exit 0\n',
}


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Stand-ins of SLURM's commands: jobs are queued in a file and nothing runs them."""
    for name, text in CLUSTER.items():
        path = tmp_path / 'bin' / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}/bin{os.pathsep}{os.environ["PATH"]}')
    return tmp_path / 'queue'


def test_sbatch__submits_each_run_once(sweep, cluster, tmp_path, capsys):
    args = ('--seeds', 0, 1, '--launcher', 'sbatch', '--gpus', 2, '--work-dir', 'w')
    assert sweep(*args) == 0
    folder = tmp_path / 'w/small/default/seed1'
    assert (folder / 'job').read_text() == '41\n'
    assert 'waiting (job 41)' in capsys.readouterr().out
    script = (folder / 'job.sh').read_text().splitlines()
    assert '#SBATCH --gres=gpu:2' in script and '#SBATCH --cpus-per-task=10' in script
    assert script[-1].endswith('tools/sweep.py --execute w/small/default/seed1 --gpus 2')

    assert sweep(*args) == 0
    assert 'job 41 has it' in capsys.readouterr().out
    cluster.write_text('40\n')  # job 41 has ended without a result: preempted
    assert sweep(*args) == 0
    assert len((tmp_path / 'submitted').read_text().splitlines()) == 3

    assert sweep('--execute', folder) == 0
    cluster.unlink()
    assert sweep(*args, '--status') == 0
    output = capsys.readouterr().out
    assert 'seed 1  finished' in output and '1 waiting, 0 running, 1 finished' in output


def test_sbatch__rejects_are_sentences(sweep, cluster, tmp_path, capsys, monkeypatch):
    (tmp_path / 'refuse').touch()
    assert sweep('--launcher', 'sbatch', '--work-dir', 'w') == 2
    assert 'sbatch failed: Invalid account.' in capsys.readouterr().err
    (tmp_path / 'refuse').unlink()
    assert sweep('--launcher', 'sbatch', '--work-dir', 'w') == 0
    monkeypatch.setenv('PATH', str(tmp_path))
    assert sweep('--launcher', 'sbatch', '--work-dir', 'w') == 2
    assert 'squeue was not found' in capsys.readouterr().err
    assert sweep('--status', '--work-dir', 'w') == 0
    assert 'Runs in the queue of a cluster are shown as waiting' in capsys.readouterr().out


def test_sbatch__a_job_that_fails_says_so(sweep, cluster, capsys):
    options = ('--options', 'behave=fail', '--work-dir', 'w')
    assert sweep(*options, '--launcher', 'sbatch') == 0
    assert sweep('--execute', 'w/small/behave=fail/seed0') == 1
    assert sweep(*options, '--status') == 0
    assert 'train failed: error: the disk is full.' in capsys.readouterr().out


@pytest.mark.slow
def test_sweep__real_runs_killed_and_resumed(run_tool, tmp_path, wait_for):
    drawn = run_tool('dataset_converters/make_shapes.py', '--out', 'data/shapes', '--train', 12, '--val', 2)
    assert drawn.returncode == 0, drawn.stderr
    cut = (
        'train_cfg.max_iters=6 param_scheduler.0.end=2 param_scheduler.1.begin=2 param_scheduler.1.end=6 '
        'default_hooks.checkpoint.interval=1 default_hooks.logger.interval=1 train_dataloader.batch_size=2 '
        'model.criterion.num_points=32'
    )
    command = [QUICKSTART, '--seeds', '0', '1', '--options', cut, 'model.head.num_queries=12', '--work-dir', 'w']
    environment = {**os.environ, 'CUDA_VISIBLE_DEVICES': '', 'OMP_NUM_THREADS': '1'}
    first = subprocess.Popen(
        [sys.executable, ROOT / 'tools/sweep.py', *command], cwd=tmp_path, env=environment, stderr=subprocess.PIPE
    )
    wait_for(lambda: list(tmp_path.glob('w/*/*/seed0/iter_2.pth')), 120)
    first.send_signal(signal.SIGTERM)
    assert first.wait(60) == 130 and b'interrupted' in first.stderr.read()
    (folder,) = {path.parent for path in tmp_path.glob('w/*/*/seed0/iter_*.pth')}
    assert not (folder / 'results.json').exists()
    resumed_at = time.time()

    again = run_tool('sweep.py', *command, '--jobs', 2)
    assert again.returncode == 0, again.stdout + again.stderr
    assert '2 runs: 0 waiting, 0 running, 2 finished, 0 failed' in again.stdout and '±' in again.stdout
    logs = sorted(folder.glob('*/vis_data/scalars.json'))
    steps = [json.loads(line).get('iter') for line in logs[-1].read_text().splitlines()]
    assert len(logs) == 2 and logs[-1].stat().st_mtime > resumed_at
    assert 1 not in steps and 6 in steps, 'the second part begins at a checkpoint'
    results = [json.loads(path.read_text()) for path in sorted(tmp_path.glob('w/*/*/*/results.json'))]
    assert [result['seed'] for result in results] == [0, 1] and {result['iteration'] for result in results} == {6}
