"""``make soak`` in small: a fixed sample of its inputs and of its kills."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.soak.fuzzing import FAULTS
from tests.soak.kills import PREPARATION, Runs, contradictions, differences, draw_data, kill_and_finish
from tests.soak.planted import PLANTED
from tests.soak.readers import READERS

ROOT = Path(__file__).parents[2]
INPUTS = 6 * len(READERS)


@pytest.fixture
def fuzz(warm_python):
    """Run ``planted.py`` in a fresh process; returns what it printed and its exit status."""

    def fuzz(*arguments):
        command = [sys.executable, ROOT / 'tests/toy/warm_python.py', warm_python, ROOT / 'tests/soak/planted.py']
        paths = f'{ROOT}:{os.environ.get("PYTHONPATH", "")}'
        done = subprocess.run(
            [*map(str, command), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, 'PYTHONPATH': paths},
        )
        return done.stdout, done.returncode

    return fuzz


def test_fuzzing__a_fixed_sample(fuzz):
    printed, status = fuzz('none', 0, INPUTS)
    assert status == 0
    outcomes = json.loads(printed)
    faults = [outcome for outcome in outcomes if outcome[2] in FAULTS]
    assert not faults, faults[0]
    assert sorted(number for number, *_ in outcomes) == list(range(INPUTS))
    assert {reader for _, reader, *_ in outcomes} == READERS.keys()
    assert Counter(kind for _, _, kind, _ in outcomes)['accepted'] >= 0.3 * INPUTS
    (again,) = json.loads(fuzz('none', 7, 8)[0])
    assert again[:3] in [outcome[:3] for outcome in outcomes]


@pytest.mark.parametrize('kind', PLANTED)
def test_fuzzing__every_kind_of_fault_is_counted_and_the_run_goes_on(fuzz, kind):
    printed, status = fuzz(kind)
    assert status == 1
    assert printed.count(f'{kind}: input ') == 2 and f'{kind}: input 0 of outlines' in printed
    assert printed.splitlines()[-2].split()[:2] == ['instance_truth', '2']


def test_kills__a_preparation_is_killed_and_goes_on(warm_python, tmp_path):
    draw_data(tmp_path, 12)
    runs = Runs(tmp_path, warm_python)
    seconds = runs.finish(PREPARATION, 'whole')
    counts = kill_and_finish(runs, PREPARATION, 'killed', [0.6 * seconds])
    assert counts.total() == 1
    assert differences(tmp_path / 'whole', tmp_path / 'killed') == []
    assert contradictions(tmp_path / 'killed', PREPARATION.maps) == []
    # What the soak looks for is seen.
    png = min((tmp_path / 'killed/panoptic_train').iterdir())
    png.write_bytes(max((tmp_path / 'killed/panoptic_train').iterdir()).read_bytes())
    assert 'contradicts' in contradictions(tmp_path / 'killed', PREPARATION.maps)[0]
    assert differences(tmp_path / 'whole', tmp_path / 'killed') == [
        f'1 files differ, such as panoptic_train/{png.name}'
    ]
