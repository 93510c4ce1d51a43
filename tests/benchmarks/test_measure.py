"""The instrument itself: who runs when, what counts, and what the memory of a call is."""

import json

import pytest
import torch

from benchmarks.measure import MB, Measured, Samples, compare, peak_memory
from benchmarks.rows import Row, format_rows, make_row, read_rows, write_rows

FIELDS = {'name', 'ours_s', 'peer_s', 'ratio', 'ours_peak_mb', 'peer_peak_mb', 'device', 'dtype', 'size'}
SEES_MEMORY = peak_memory(lambda: None, 'cpu') is not None


class Work:
    """Calls that take the time they are told to, on a clock of their own."""

    def __init__(self, **durations):
        self.now, self.called, self.durations = 0.0, [], {name: list(times) for name, times in durations.items()}

    def clock(self):
        return self.now

    def call(self, name):
        def run():
            self.called.append(name)
            self.now += self.durations[name].pop(0) if self.durations[name] else 0

        return run


def test_compare__medians_without_the_warm_up():
    work = Work(ours=[90, 1, 2, 6], peer=[50, 4, 4, 9])
    measured = compare(work.call('ours'), work.call('peer'), 'cpu', runs=3, warmup=1, clock=work.clock)
    assert measured.ours.seconds == (1, 2, 6) and measured.ours.median == 2 and measured.ours.spread == (1, 6)
    assert measured.peer.seconds == (4, 4, 9)
    assert measured.ratio == 0.5


def test_compare__sides_alternate_and_change_places():
    work = Work(ours=[], peer=[])
    compare(work.call('ours'), work.call('peer'), 'cpu', runs=2, warmup=1, clock=work.clock)
    assert work.called == ['ours', 'peer', 'peer', 'ours', 'ours', 'peer', *('ours', 'peer')]  # the last two for memory


def test_compare__without_a_peer():
    work = Work(ours=[3, 5])
    measured = compare(work.call('ours'), None, 'cpu', runs=2, warmup=0, clock=work.clock)
    assert measured.peer is None and measured.ratio is None and measured.ours.median == 4


@pytest.mark.parametrize(('runs', 'warmup'), [(0, 1), (1, -1)])
def test_compare__needs_a_run(runs, warmup):
    with pytest.raises(ValueError, match='give at least one run'):
        compare(lambda: None, None, 'cpu', runs, warmup)


@pytest.mark.skipif(not SEES_MEMORY, reason='the system does not count the highest resident set')
def test_peak_memory__sees_what_is_freed_again():
    def work():
        torch.ones(50 * MB // 4)
        return torch.ones(5 * MB // 4)

    for _ in range(2):  # memory that the first call leaves behind must not hide the second one's
        assert peak_memory(work, 'cpu') == pytest.approx(50, abs=8)
    assert peak_memory(lambda: None, 'cpu') < 5


@pytest.fixture
def row():
    measured = Measured(Samples((2.0, 1.0, 3.0), 120.4), Samples((8.0, 8.0, 9.0), None))
    return make_row('one-answer', measured, device=torch.device('cpu'), dtype='fp32', size='512x512', peer='theirs')


def test_make_row__has_the_fields(row):
    assert (row.ours_s, row.peer_s, row.ratio, row.ours_peak_mb, row.peer_peak_mb) == (2.0, 8.0, 0.25, 120.4, None)
    assert (row.ours_spread, row.peer_spread, row.runs, row.peer) == ((1.0, 3.0), (8.0, 9.0), 3, 'theirs')
    alone = make_row('x', Measured(Samples((2.0,), None), None), device='cpu', dtype='fp32', size='-', peer='theirs')
    assert alone.peer is alone.peer_s is alone.ratio is alone.peer_spread is None


def test_write_rows__round_trip(row, tmp_path):
    path = tmp_path / 'new/rows.json'
    write_rows([row], path, {'command': 'c', 'machine': 'm'})
    (entry,) = json.loads(path.read_text())
    assert set(entry) >= FIELDS and entry['command'] == 'c' and entry['device'] == 'cpu'
    assert read_rows(path) == ([row], {'command': 'c', 'machine': 'm'})
    assert [file.name for file in path.parent.iterdir()] == ['rows.json']


def test_write_rows__whole_or_not_at_all(row, tmp_path):
    path = tmp_path / 'rows.json'
    write_rows([row], path)
    before = path.read_text()
    with pytest.raises(TypeError):
        write_rows([row], path, {'command': object()})
    assert path.read_text() == before


@pytest.mark.parametrize('content', ['{"a": 1}', 'no JSON', '[1]', '[{"name": "x"}]'])
def test_read_rows__rejects_other_files(content, tmp_path):
    path = tmp_path / 'rows.json'
    path.write_text(content)
    with pytest.raises(ValueError, match='give a file that'):
        read_rows(path)


def test_tables__say_what_was_measured(row):
    text = format_rows([row])
    assert all(
        cell in text for cell in ('one-answer', '2.00 s', '1.00 s to 3.00 s', '8.00 s (theirs)', '0.25', '120 MB')
    )
    assert Row('y', 0.0123, None, None, None, None, 'cpu', 'fp32', '-').ratio is None
    assert '12.3 ms' in format_rows([Row('y', 0.0123, None, None, None, None, 'cpu', 'fp32', '-')])
