"""The benchmark of the evaluation: rows, and that both sides are compared."""

import argparse

import pytest

from benchmarks import eval as evaluation

SMALL = {'size': (40, 60), 'images': 2, 'segments': 6, 'runs': 1, 'warmup': 0}


def test_run__rows_and_no_table_of_classes(capsys):
    rows = evaluation.run(argparse.Namespace(**SMALL))
    assert [row.name for row in rows] == ['eval-pq', 'eval-ap', 'eval-miou', 'eval-three']
    assert all(row.ratio == row.ours_s / row.peer_s and row.size == '2 x 40x60' for row in rows)
    printed = capsys.readouterr()
    assert printed.out == 'both sides find the same pairs, precisions (within 1e-12) and areas\n'
    assert 'AP50' not in printed.err


def test_run__other_numbers_are_an_error(monkeypatch):
    right = evaluation._pairs
    with monkeypatch.context() as patch:
        patch.setattr(evaluation, '_pairs', lambda scene: {**right(scene), (0, 0): -1})
        with pytest.raises(ValueError, match='eval-pq: both sides find different numbers'):
            evaluation.run(argparse.Namespace(**SMALL))
    with monkeypatch.context() as patch:
        patch.setattr(evaluation.COCOeval, 'summarize', lambda self: setattr(self, 'stats', [0.123] * 12))
        with pytest.raises(ValueError, match='eval-ap: both sides find different numbers'):
            evaluation.run(argparse.Namespace(**SMALL))
    monkeypatch.setattr(evaluation, '_areas_by_mmseg', lambda scene: [scene.classes[0]] * 3)
    with pytest.raises(ValueError, match='eval-miou: both sides find different numbers'):
        evaluation.run(argparse.Namespace(**SMALL))


def test_run__too_few_of_anything():
    with pytest.raises(ValueError, match='must be 1 or more'):
        evaluation.run(argparse.Namespace(**SMALL | {'images': 0}))
