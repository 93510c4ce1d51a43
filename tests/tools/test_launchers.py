import json
import os
import socket
import stat
import sys

import pytest
from mmengine.config import Config

from mmseg_oneformer import launch
from mmseg_oneformer.models.precision import SLOW_BF16, bf16_ratio
from mmseg_oneformer.zoo.weights import find_weights

MODEL = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'


def free_port():
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        return server.getsockname()[1]


def ranks(work_dir):
    lines = (work_dir / 'losses.txt').read_text().splitlines()
    return sorted({line.split()[2] for line in lines}), len(lines)


@pytest.mark.slow
def test_dist_train__two_processes_without_a_gpu(run_tool, toy_config, tmp_path):
    done = run_tool('dist_train.sh', toy_config, 2, '--work-dir', 'w', env={'PORT': str(free_port())})
    assert done.returncode == 0, done.stderr
    assert ranks(tmp_path / 'w') == (['rank0', 'rank1'], 14)


@pytest.mark.slow
def test_dist__oneformer_trains_and_is_tested_by_two_processes(run_tool, tmp_path):
    drawn = run_tool('dataset_converters/make_shapes.py', '--out', 'data/shapes', '--train', 12, '--val', 5)
    assert drawn.returncode == 0, drawn.stderr
    options = ('train_cfg.max_iters=3', 'train_dataloader.batch_size=2', 'default_hooks.checkpoint.interval=3')
    port = {'PORT': str(free_port())}
    amp = ['--amp'] if bf16_ratio() <= SLOW_BF16 else []  # Elsewhere it is rejected.
    trained = run_tool('dist_train.sh', MODEL, 2, '--work-dir', 'w', *amp, '--cfg-options', *options, env=port)
    assert trained.returncode == 0, trained.stderr
    tested = run_tool('dist_test.sh', MODEL, find_weights(MODEL), 2, '--work-dir', 'two', env=port)
    assert tested.returncode == 0, tested.stderr
    alone = run_tool(
        'test.py', MODEL, find_weights(MODEL), '--work-dir', 'one', '--cfg-options', 'test_dataloader.batch_size=1'
    )
    assert alone.returncode == 0, alone.stderr
    found = [json.loads((tmp_path / folder / 'results.json').read_text())['metrics'] for folder in ('two', 'one')]
    assert found[0] == found[1]
    assert found[0]['own']['PQ'] > 50


@pytest.mark.slow
def test_slurm_train__stand_in_srun_starts_every_task(run_tool, toy_config, tmp_path):
    srun = tmp_path / 'bin/srun'
    srun.parent.mkdir()
    srun.write_text(SRUN)
    srun.chmod(srun.stat().st_mode | stat.S_IXUSR)
    env = {
        'PATH': f'{srun.parent}{os.pathsep}{os.environ["PATH"]}',
        'GPUS': '2',
        'GPUS_PER_NODE': '0',
        'SRUN_ARGS': '--exclude=bad01 --time=5',
        'MASTER_PORT': str(free_port()),
    }
    done = run_tool('slurm_train.sh', 'gpu', 'toy-job', toy_config, '--work-dir', 'w', env=env)
    assert done.returncode == 0, done.stderr
    assert ranks(tmp_path / 'w') == (['rank0', 'rank1'], 14)
    given = (tmp_path / 'srun.txt').read_text().split()
    assert {'--partition=gpu', '--job-name=toy-job', '--ntasks=2', '--exclude=bad01', '--time=5'} <= set(given)
    assert not any(arg.startswith('--gres') for arg in given)


@pytest.fixture
def slurm(tmp_path):
    """Environment in which commands of SLURM are stand-ins: ``srun`` starts its tasks, ``scontrol`` notes its words."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    for name, text in (('srun', SRUN), ('scontrol', '#!/bin/sh\n[ $1 = show ] || echo "$@" >> scontrol.txt\n')):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return {
        'PATH': f'{folder}{os.pathsep}{os.environ["PATH"]}',
        'GPUS': '2',
        'GPUS_PER_NODE': '0',
        'MASTER_PORT': str(free_port()),
        'SLURM_JOB_ID': '4711',
    }


@pytest.mark.slow
def test_slurm_train__signal_saves_and_requeues_the_job(run_tool, toy_config, tmp_path, slurm):
    """Only one of the tasks is signalled, as SLURM signals them at different moments; both stop at one iteration."""
    command = ('slurm_train.sh', '--signal', 'gpu', 'toy', toy_config, '--work-dir', 'w', '--resume', '--cfg-options')
    stop = ('custom_hooks.0.signal_after={3:{1:"SIGUSR1"}}', 'train_dataloader.num_workers=1')
    stopped = run_tool(*command, *stop, env=slurm)
    assert stopped.returncode == 75, stopped.stderr
    assert 'A signal to another process: stopped after iteration 3 of 7; iter_3.pth is saved' in stopped.stdout
    assert '--signal=USR1@120' in (tmp_path / 'srun.txt').read_text().split()
    assert (tmp_path / 'scontrol.txt').read_text() == 'requeue 4711\n'
    assert ranks(tmp_path / 'w') == (['rank0', 'rank1'], 6)
    finished = run_tool(*command, 'train_dataloader.num_workers=1', env=slurm)
    assert finished.returncode == 0, finished.stderr
    assert ranks(tmp_path / 'w') == (['rank0', 'rank1'], 14)
    assert (tmp_path / 'scontrol.txt').read_text() == 'requeue 4711\n'


@pytest.mark.parametrize(('status', 'requeued'), [(75, True), (0, False), (2, False)])
@pytest.mark.parametrize('flags', [('--signal=TERM@60', 'p', 'j', 'c.py'), ('p', 'j', 'c.py', '--signal=TERM@60')])
def test_slurm_train__requeues_what_wants_to_go_on(run_tool, tmp_path, slurm, status, requeued, flags):
    (tmp_path / 'bin/srun').write_text(f'#!/bin/sh\necho "$@"\nexit {status}\n')
    done = run_tool('slurm_train.sh', *flags, env=slurm)
    assert done.returncode == status
    assert '--signal=TERM@60 ' in done.stdout
    assert done.stdout.strip().endswith('train.py c.py --launcher slurm')
    assert (tmp_path / 'scontrol.txt').exists() == requeued


SRUN = f"""#!{sys.executable}
import os, socket, subprocess, sys
args = sys.argv[1:]
first = next(i for i, arg in enumerate(args) if not arg.startswith('--'))
flags, command = args[:first], args[first:]
open('srun.txt', 'w').write(' '.join(args))
tasks = next(int(flag.split('=')[1]) for flag in flags if flag.startswith('--ntasks='))
slurm = dict(SLURM_NTASKS=str(tasks), SLURM_NODELIST=socket.gethostname())
running = [
    subprocess.Popen(command, env={{**os.environ, **slurm, 'SLURM_PROCID': str(i), 'SLURM_LOCALID': str(i)}})
    for i in range(tasks)
]
sys.exit(max(process.wait() for process in running))
"""


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh', 'slurm_test.sh'])
def test_launchers__too_few_arguments_show_the_usage(run_tool, script):
    done = run_tool(script, 'x')
    assert done.returncode == 2
    assert '\nusage: bash tools/' in f'\n{done.stderr}'  # Bash may have complained about a language before.


@pytest.mark.parametrize(
    ('script', 'args', 'expected'),
    [
        ('slurm_train.sh', ('p', 'j', 'c.py', '--amp'), 'train.py c.py --amp --launcher slurm'),
        (
            'slurm_test.sh',
            ('p', 'j', 'c.py', 'a b.pth', '--token-matrix'),
            'test.py c.py a b.pth --token-matrix --launcher slurm',
        ),
    ],
)
def test_slurm__asks_for_gpus_and_passes_flags_on(run_tool, tmp_path, script, args, expected):
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\necho "$@"\n')
    srun.chmod(0o755)
    done = run_tool(script, *args, env={'PATH': f'{tmp_path}{os.pathsep}{os.environ["PATH"]}', 'GPUS': '16'})
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(expected)
    assert '--gres=gpu:8 --ntasks=16 --ntasks-per-node=8' in done.stdout


@pytest.mark.parametrize(
    ('nodes', 'host'),
    [('node[03-07,12],gpu1', 'node03'), ('gpu1,gpu2', 'gpu1'), ('a-b[1,3]', 'a-b1'), ('solo', 'solo')],
)
def test_first_host(monkeypatch, nodes, host):
    monkeypatch.setattr(launch.shutil, 'which', lambda name: None)
    assert launch.first_host(nodes) == host


def test_first_host__this_machine_is_localhost(monkeypatch):
    monkeypatch.setattr(launch.shutil, 'which', lambda name: None)
    monkeypatch.setattr(launch.socket, 'gethostname', lambda: 'solo')
    assert launch.first_host('solo') == '127.0.0.1'


def test_revert_sync_bn__everywhere_in_a_config():
    cfg = Config({'model': {'backbone': {'norm_cfg': {'type': 'SyncBN', 'momentum': 0.1}}, 'x': [{'type': 'SyncBN'}]}})
    assert launch.revert_sync_bn(cfg.model) == 2
    assert cfg.model.backbone.norm_cfg == {'type': 'BN', 'momentum': 0.1}
    assert cfg.model.x[0].type == 'BN'
    assert launch.revert_sync_bn(cfg.model) == 0
