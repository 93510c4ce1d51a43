"""A room looks down only: the contracts of ``pyproject.toml`` hold, and see what would break them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def copy(tmp_path):
    """A copy of the packages, whose contracts can be checked."""
    for folder in ('projects', 'benchmarks'):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns('__pycache__', 'weights'))
    shutil.copy(ROOT / 'pyproject.toml', tmp_path)
    return tmp_path


def broken_contracts(folder):
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(folder / 'projects/oneformer'), str(folder)])}
    command = [Path(sys.executable).with_name('lint-imports'), '--no-cache']
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_contracts__kept(copy):
    assert broken_contracts(copy)[0] == 0


@pytest.mark.parametrize(
    ('old', 'new'),
    [
        ('from .masked_decoder', 'from ..engine import hooks  # noqa: F401\nfrom .masked_decoder'),
        (
            '        super().__init__(init_cfg)\n',
            '        from ..engine import hooks\n        super().__init__(init_cfg)\n',
        ),
    ],
    ids=['at the top', 'inside of a function'],
)
def test_contracts__see_an_import_that_runs_up(copy, old, new):
    path = copy / 'projects/oneformer/mmseg_oneformer/models/head.py'
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    code, printed = broken_contracts(copy)
    assert code == 1 and 'mmseg_oneformer.models.head -> mmseg_oneformer.engine.hooks' in printed


def test_contracts__want_a_floor_for_every_room(copy):
    (copy / 'projects/oneformer/mmseg_oneformer/attic.py').touch()
    code, printed = broken_contracts(copy)
    assert code == 1 and 'mmseg_oneformer.attic' in printed
