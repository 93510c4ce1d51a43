"""Stand-ins for train.py and test.py that take milliseconds and do what the options tell them."""

import json
import os
import threading

import pytest

from mmseg_oneformer.sweep import Launch, plan_runs

TRAIN = """
import argparse, json, os, pathlib, sys, time
parser = argparse.ArgumentParser()
parser.add_argument('config')
for flag in ('--work-dir', '--seed'):
    parser.add_argument(flag)
for flag in ('--resume', '--amp'):
    parser.add_argument(flag, action='store_true')
parser.add_argument('--cfg-options', nargs='+', default=[])
args = parser.parse_args()
options = dict(option.split('=') for option in args.cfg_options)
folder = pathlib.Path(args.work_dir)
(folder / 'pid').write_text(str(os.getpid()))
environment = ('CUDA_VISIBLE_DEVICES', 'PORT', 'OMP_NUM_THREADS')
(folder / 'environment.json').write_text(json.dumps({name: os.environ.get(name) for name in environment}))
alive = folder / 'alive'
if alive.exists() and pathlib.Path('/proc', alive.read_text()).exists():
    sys.exit('error: two processes train in one folder')
alive.write_text(str(os.getpid()))
if options.get('behave') == 'fail' and not (folder / 'mended').exists():
    print('Traceback (most recent call last):\\nerror: the disk is full.\\nsome goodbye', file=sys.stderr)
    sys.exit(2)
if options.get('behave') == 'die':
    os.kill(os.getpid(), 9)
done = max([int(path.stem[5:]) for path in folder.glob('iter_*.pth')], default=0) if args.resume else 0
(folder / 'log/vis_data').mkdir(parents=True, exist_ok=True)
for step in range(done + 1, 5):
    with (folder / 'log/vis_data/scalars.json').open('a') as log:
        log.write(json.dumps(dict(iter=step, loss=10 / step, time=90.0)) + '\\n')
    with (folder / 'steps.txt').open('a') as steps:
        steps.write(f'{step} ')
    if options.get('behave') != 'forget':
        (folder / f'iter_{step}.pth').touch()
    patience = time.monotonic() + 300
    while options.get('hold') == str(step) and not (folder / 'go').exists() and time.monotonic() < patience:
        time.sleep(0.01)
alive.unlink()
"""
TEST = """
import json, pathlib, sys
config, checkpoint, *rest = sys.argv[1:]
out = pathlib.Path(rest[rest.index('--out') + 1])
seed = int(out.parent.name[4:])
if 'behave=untestable' in rest and not (out.parent / 'mended').exists():
    sys.exit('error: no such data.')
if 'behave=mute' not in rest:
    metrics = dict(PQ=50.0 + seed**2, AP=40.0, mIoU=None)
    out.write_text(json.dumps(dict(metrics=dict(own=metrics), checkpoint=checkpoint)))
"""


@pytest.fixture
def tools(tmp_path):
    """Folder of the stand-ins."""
    folder = tmp_path / 'tools'
    folder.mkdir()
    (folder / 'train.py').write_text(TRAIN)
    (folder / 'test.py').write_text(TEST)
    return folder


@pytest.fixture
def config(tmp_path):
    """A config of four iterations."""
    path = tmp_path / 'small.py'
    path.write_text("model = dict(type='Any')\ntrain_cfg = dict(max_iters=4)\n")
    return path


@pytest.fixture
def plan(config, tmp_path):
    """Plan runs of the config."""

    def make(seeds=(0,), options=()):
        return plan_runs([str(config)], seeds, options, tmp_path / 'sweep')

    return make


@pytest.fixture
def launch(tools):
    return Launch(tools)


@pytest.fixture
def stop():
    return threading.Event()


@pytest.fixture
def environment():
    return dict(os.environ)


@pytest.fixture
def steps_of():
    """Iterations that a run was seen to do, in order."""
    return lambda run: [int(step) for step in (run.folder / 'steps.txt').read_text().split()]


@pytest.fixture
def results_of():
    return lambda run: json.loads((run.folder / 'results.json').read_text())
