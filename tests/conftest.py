"""Fixtures that several rooms share."""

import importlib.util
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

os.environ.setdefault(
    'OMP_NUM_THREADS', '1'
)  # Small tensors: threads cost more than they bring, and xdist has its own.

os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')  # onnxruntime would write to HOME and ask for the network.

from mmengine.config import config  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402
from mmengine.visualization import Visualizer  # noqa: E402
from torch.distributed import TCPStore  # noqa: E402

import mmseg_oneformer  # noqa: E402, F401  (first: makes the OpenMMLab wheels importable)
from mmseg_oneformer.models import precision  # noqa: E402
from mmseg_oneformer.visualization.visualizer import OneFormerVisualizer  # noqa: E402
from mmseg_oneformer.zoo import download  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
TOY = ROOT / 'tests/toy'

# mmengine lays the text of a config out anew at every start and checkpoint, a second each; it means the same without.
config.FormatCode = lambda text, **_: (text, True)


@pytest.fixture(autouse=True)
def fresh_logger():
    """Let each test log to its own stderr and folder: mmengine keeps loggers and visualizers by name, for a process."""
    yield
    for kept in (MMLogger, Visualizer, OneFormerVisualizer):
        kept._instance_dict.clear()


@pytest.fixture
def toy_config():
    """Path of a config that trains seven iterations in a second."""
    return TOY / 'toy_config.py'


def toy_module(name):
    spec = importlib.util.spec_from_file_location(name, TOY / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def fast_bf16(monkeypatch):
    """Tests of bf16 run on every CPU, also where it is slower than fp32 and therefore rejected."""
    monkeypatch.setattr(precision, 'bf16_ratio', lambda: 1.0)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    """No test sees what the developer has downloaded."""
    monkeypatch.setenv('MMSEG_ONEFORMER_CACHE', str(tmp_path_factory.mktemp('cache')))


@pytest.fixture(scope='session')
def tiny_model(tmp_path_factory):
    """Paths of the config and of the weights of a tiny model, which are random but sure of themselves."""
    return toy_module('tiny_model').write_tiny_model(tmp_path_factory.mktemp('tiny'))


@pytest.fixture
def make_photo():
    """A function that draws a colourful photo (H, W, 3) BGR."""

    def make(height=50, width=70, seed=0):
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)

    return make


@pytest.fixture
def server(monkeypatch):
    """A web server: ``rules`` says how it behaves, ``requests`` is what was requested of it, (path, range)."""
    server = toy_module('web_server').start_server()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setattr(download, 'SCHEMES', ('http',))
    monkeypatch.setattr(download.time, 'sleep', lambda seconds: None)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope='session')
def drawn_benchmarks():
    """The module that draws each benchmark's files; ``draw_benchmark(name, folder)`` writes them."""
    return toy_module('drawn_benchmarks')


@pytest.fixture(scope='session')
def small_models():
    """The module whose options make a shipped config small."""
    return toy_module('small_models')


@pytest.fixture(scope='session')
def sources():
    """The module that draws photos with panoptic, with semantic and with instance annotations alone."""
    return toy_module('mixed_sources')


@pytest.fixture(scope='session')
def wait_for():
    """Wait until something is true."""

    def wait(condition, seconds=120):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, 'waited in vain'
            time.sleep(0.02)

    return wait


@pytest.fixture
def start_ranks(tmp_path):
    """Start a script as the two processes of a group, in an empty folder; returns a function that waits for their end.

    Their store is here, on a port that the system has given and no other can take meanwhile.
    """
    started, stores = [], []

    def start(script):
        store = TCPStore('127.0.0.1', 0, is_master=True, wait_for_workers=False)
        address = {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(store.port), 'TORCHELASTIC_USE_AGENT_STORE': 'True'}
        stores.append(store)
        for rank in range(2):
            env = {**os.environ, **address, 'WORLD_SIZE': '2', 'RANK': str(rank), 'OMP_NUM_THREADS': '1'}
            started.append(subprocess.Popen([sys.executable, str(Path(script).resolve())], cwd=tmp_path, env=env))

        def finish():
            assert [process.wait(timeout=900) for process in started] == [0, 0]

        return finish

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture(scope='session')
def warm_python(tmp_path_factory):
    """Address of a server that starts Python scripts without importing anything anew."""
    address = tmp_path_factory.mktemp('warm') / 'socket'
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '', 'MPLBACKEND': 'Agg'}
    with subprocess.Popen([sys.executable, TOY / 'warm_python.py', 'serve', address], env=env) as server:
        while not address.exists():
            assert server.poll() is None
            time.sleep(0.1)
        yield address
        server.terminate()


@pytest.fixture
def run_tool(tmp_path):
    """Run a tool of ``tools/`` as a user would, in an empty folder; returns the finished process."""

    def run(tool, *args, env=None, timeout=900):
        command = ['bash', ROOT / 'tools' / tool] if tool.endswith('.sh') else [sys.executable, ROOT / 'tools' / tool]
        paths = [str(TOY), os.environ.get('PYTHONPATH', '')]
        full_env = {
            **os.environ,
            'PYTHONPATH': os.pathsep.join(paths),
            'PYTHON': sys.executable,
            'OMP_NUM_THREADS': '1',
            'CUDA_VISIBLE_DEVICES': '',
            **(env or {}),
        }
        command = [str(part) for part in [*command, *args]]
        return subprocess.run(
            command, cwd=tmp_path, env=full_env, capture_output=True, text=True, timeout=timeout, check=False
        )

    return run


@pytest.fixture
def call_tool(tmp_path, monkeypatch):
    """Call ``main`` of a tool in this process, in an empty folder; returns its exit status."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(TOY))

    def call(tool, *args):
        path = ROOT / 'tools' / tool
        spec = importlib.util.spec_from_file_location(f'tool_{path.stem}', path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setenv('ONEFORMER_TRACEBACK', '0')  # and not what a tool sets it to
        try:
            return module.main([str(arg) for arg in args]) or 0
        except SystemExit as stop:
            return stop.code or 0

    return call
