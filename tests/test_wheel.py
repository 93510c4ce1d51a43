import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mmseg_oneformer.zoo.configs import config_root, list_models
from mmseg_oneformer.zoo.weights import find_weights

ROOT = Path(__file__).resolve().parents[1]

PREDICT = """
import sys
import mmseg_oneformer, numpy as np
from mmseg_oneformer.apis import OneFormerInferencer
assert mmseg_oneformer.__file__.startswith(sys.argv[2]), mmseg_oneformer.__file__
photo = np.full((64, 80), 90, np.uint8)
result = OneFormerInferencer(sys.argv[1], device='cpu')(photo, progress=False)
print('predicted', result.semantic.shape, result.panoptic.ids.shape)
"""


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    """A wheel built from what git tracks or would track, so that no build folder of the checkout is reused."""
    source, out = tmp_path_factory.mktemp('source'), tmp_path_factory.mktemp('wheel')
    folders = ('projects', 'configs', 'tools')
    listed = subprocess.run(
        ['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard', '--', *folders, '*.*'],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip('not a git checkout')
    for name in filter(None, listed.stdout.decode().split('\0')):
        if (ROOT / name).is_file() and not name.startswith(('tests/', 'docs/')):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-build-isolation', '-w', out, source]
    subprocess.run(command, check=True)
    return next(out.glob('*.whl'))


@pytest.mark.slow
def test_wheel__has_every_config_and_all_shipped_weights(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    configs = {f'mmseg_oneformer/configs/{path.relative_to(config_root())}' for path in config_root().rglob('*.py')}
    assert len(configs) > len(list_models()) > 0
    assert configs <= names
    assert {'mmseg_oneformer/tools/train.py', 'mmseg_oneformer/serving/page/index.html'} <= names
    shipped = {path.name for path in map(find_weights, list_models()) if path is not None}
    assert {f'mmseg_oneformer/weights/{name}' for name in shipped} <= names
    assert 'mmseg_oneformer/command_line/arguments.py' in names  # The tools begin with it.
    assert {'mmseg_oneformer/py.typed', 'mmseg_oneformer/model-index.yml'} <= names
    assert not [name for name in names if name.startswith(('tests', 'tools', 'benchmarks')) or '__pycache__' in name]
    assert not [name for name in names if name.endswith(('/benchmark.py', '/load_test.py'))]


@pytest.mark.slow
def test_wheel__installed_elsewhere_predicts_a_photo_by_model_name(wheel, tmp_path):
    model = next((name for name in list_models() if find_weights(name)), None)
    if model is None:
        pytest.skip('no weights are shipped')
    target = tmp_path / 'site'
    pip = [sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--target', target, wheel]
    subprocess.run(pip, check=True)
    done = subprocess.run(
        [sys.executable, '-c', PREDICT, model, str(target)],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(target)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert 'predicted (64, 80) (64, 80)' in done.stdout
