"""Bars for people, and lines for files."""

import io
import sys
import types

import pytest

from mmseg_oneformer import progress
from mmseg_oneformer.files import file_digest
from mmseg_oneformer.progress import Progress, format_duration
from mmseg_oneformer.text_table import format_table


class Terminal(io.StringIO):
    """A terminal that remembers."""

    def isatty(self):
        return True


def become_terminal(monkeypatch):
    """Make stderr a terminal; not a fixture, whose stderr pytest replaces before the test begins."""
    stream = Terminal()
    monkeypatch.setattr(sys, 'stderr', stream)
    return stream


def test_progress__lines_where_there_is_no_terminal(monkeypatch, capsys):
    clock = types.SimpleNamespace(now=0.0)
    monkeypatch.setattr(progress.time, 'monotonic', lambda: clock.now)
    bar = Progress('testing', 200, 'batches')
    for done in range(1, 201):
        clock.now += 0.7
        bar.update(done, 'PQ so far' * (done > 100))
    bar.close()
    shown = capsys.readouterr()
    assert shown.err.splitlines() == [
        'testing: 86 of 200 batches, 0:01:00',
        'testing: 172 of 200 batches, 0:02:00  PQ so far',
    ]
    assert '\r' not in shown.err and not shown.out


def test_progress__a_bar_on_a_terminal(monkeypatch):
    terminal = become_terminal(monkeypatch)
    bar = Progress('testing', 4, 'batches')
    bar.update(3, '1 of 2 runs finished')
    bar.close()
    assert 'testing:   0%' in terminal.getvalue() and '\r' in terminal.getvalue()


@pytest.mark.parametrize('large', [False, True])
def test_open_large__a_terminal_sees_how_far_it_is(large, monkeypatch, tmp_path):
    terminal = become_terminal(monkeypatch)
    path = tmp_path / 'weights.pth'
    path.write_bytes(b'7' * 3_000_000)
    expected = file_digest(path)
    monkeypatch.setattr(progress, 'LARGE', 1000 if large else 10_000_000)
    assert file_digest(path) == expected
    assert ('checking weights.pth:   0%' in terminal.getvalue()) == large


def test_format_duration():
    assert [format_duration(seconds) for seconds in (-1, 59.6, 11220)] == ['0:00:00', '0:01:00', '3:07:00']


def test_table__without_columns_that_are_empty():
    rows = [['a', None, 1.0, '', float('nan')], ['b', '-', None, '', 2.0]]
    assert format_table(['run', 'PQ', 'AP', 'note', 'loss'], rows).splitlines() == [
        'run   AP  loss',
        '---  ---  ----',
        'a    1.0     -',
        'b      -   2.0',
    ]
    assert format_table(['run', 'PQ'], []).splitlines()[0] == 'run  PQ'
    assert format_table(['run', 'PQ'], [['', None]]).splitlines()[0] == 'run'
