"""Planted logits, the plain form as a peer, and the subcommand."""

import json

import pytest
import torch
from mmengine.structures import InstanceData

from benchmarks.planted import planted_logits
from benchmarks.postprocess import check_same

TOOL = 'analysis_tools/benchmark.py'


@pytest.mark.parametrize('num_segments', [0, 1, 7, 20])
def test_planted_logits__as_many_sure_queries_as_asked_for(num_segments):
    class_logits, mask_logits = planted_logits((16, 24), 20, 9, 5, num_segments)
    assert class_logits.shape == (20, 10) and mask_logits.shape == (20, 16, 24)
    scores, labels = class_logits.softmax(-1).max(-1)
    assert ((labels < 9) & (scores > 0.9)).sum() == num_segments
    assert mask_logits.isfinite().all()


def test_planted_logits__seeded_and_mostly_covered():
    class_logits, mask_logits = planted_logits((64, 64), seed=3)
    assert torch.equal(mask_logits, planted_logits((64, 64), seed=3)[1])
    assert not torch.equal(mask_logits, planted_logits((64, 64), seed=4)[1])
    planted = class_logits.softmax(-1)[:, :-1].amax(-1) > 0.9
    assert 0.8 < (mask_logits[planted] > 0).any(0).float().mean() < 1


@pytest.mark.parametrize('classes, things', [(1, 1), (1, 0), (5, 5), (5, 0)])
def test_planted_logits__only_things_or_only_stuff(classes, things):
    assert planted_logits((8, 8), 6, classes, things, 6)[0].shape == (6, classes + 1)


def test_check_same__names_what_differs():
    labels = torch.zeros(4, 4)
    found = InstanceData(labels=torch.zeros(1), scores=torch.zeros(1), masks=torch.zeros(1, 4, 4))
    check_same(labels, labels)
    with pytest.raises(ValueError, match=r'6\.2e-02 of the pixels'):
        check_same(labels, torch.eye(4) * torch.tensor([1, 0, 0, 0]))
    with pytest.raises(ValueError, match='instances'):
        check_same(found, InstanceData(labels=torch.ones(1), scores=torch.zeros(1), masks=torch.zeros(1, 4, 4)))
    with pytest.raises(ValueError, match='segments'):
        check_same((labels, [{'id': 1000}]), (labels, []))


def test_postprocess__rows(call_tool, tmp_path, capsys):
    numbers = ('--size', 64, 96, '--queries', 20, '--classes', 7, '--things', 4, '--segments', 9)
    assert call_tool(TOOL, 'postprocess', *numbers, '--runs', 1, '--warmup', 0, '--out', tmp_path / 'rows.json') == 0
    assert 'both give the same predictions, 9 segments' in capsys.readouterr().out
    rows = json.loads((tmp_path / 'rows.json').read_text())
    assert [row['name'] for row in rows] == [
        f'postprocess-{name}' for name in ('semantic', 'instance', 'panoptic', 'three')
    ]
    assert all(row['ratio'] and row['peer'] == 'plain form' and row['size'] == '64x96, N=20, K=7' for row in rows)


@pytest.mark.parametrize('arguments, sentence', [
    (('--size', 30, 32), 'multiples of 4'), (('--size', 32, 32, '--things', 200), 'correct the numbers'),
])  # fmt: skip
def test_postprocess__wrong_numbers(call_tool, capsys, arguments, sentence):
    assert call_tool(TOOL, 'postprocess', *arguments) == 2
    assert sentence in capsys.readouterr().err
