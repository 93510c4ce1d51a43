"""``make soak`` in small: a fixed sample of its inputs and of its kills."""

import os
import random
import signal
from collections import Counter

import pytest

from tests.soak.fuzzing import FAULTS, fuzz, main
from tests.soak.kills import PREPARATION, Runs, contradictions, differences, draw_data, kill_and_finish
from tests.soak.readers import READERS

INPUTS = 6 * len(READERS)


def test_fuzzing__a_fixed_sample():
    outcomes = list(fuzz(range(INPUTS), 11, list(READERS), 1))
    faults = [outcome for outcome in outcomes if outcome.kind in FAULTS]
    assert not faults, faults[0]
    assert sorted(outcome.number for outcome in outcomes) == list(range(INPUTS))
    assert {outcome.reader for outcome in outcomes} == READERS.keys()
    assert Counter(outcome.kind for outcome in outcomes)['accepted'] >= 0.3 * INPUTS
    (again,) = fuzz(range(7, 8), 11, list(READERS), 1)
    assert again[:3] in [outcome[:3] for outcome in outcomes]


def die(rng: random.Random, folder):
    os.kill(os.getpid(), signal.SIGKILL)


def fill_memory(rng: random.Random, folder):
    return bytearray(3 * 2**30)


def write_elsewhere(rng: random.Random, folder):
    (folder.parents[1] / 'elsewhere').touch()


def hang(rng: random.Random, folder):
    while True:
        pass


def divide(rng: random.Random, folder):
    return 1 / (rng.random() * 0)


@pytest.mark.parametrize(
    ('reader', 'kind'),
    [(die, 'crash'), (fill_memory, 'memory'), (write_elsewhere, 'elsewhere'), (hang, 'hang'), (divide, 'traceback')],
)
def test_fuzzing__every_kind_of_fault_is_counted_and_the_run_goes_on(monkeypatch, capsys, reader, kind):
    monkeypatch.setattr('tests.soak.fuzzing.SECONDS', 2.0)
    monkeypatch.setitem(READERS, 'outlines', reader)
    assert main(['--inputs', '4', '--readers', 'outlines', 'instance_truth', '--jobs', '1']) == 1
    printed = capsys.readouterr().out
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
