"""The benchmark of deformable attention; figures are not judged."""

import json

import pytest
import torch

from benchmarks import deformable_attention as attention

TOOL = 'analysis_tools/benchmark.py'
SMALL = ['attention', '--size', '64', '--runs', '1', '--warmup', '0']


def test_attention__rows(call_tool, tmp_path, capsys):
    out = tmp_path / 'rows.json'
    assert call_tool(TOOL, *SMALL, '--batch', 1, 2, '--dtype', 'bf16', '--out', out) == 0
    assert '64x64, batch 2 against plain: relative difference result' in capsys.readouterr().out
    rows = json.loads(out.read_text())
    assert [(row['name'], row['size']) for row in rows] == [
        (name, size) for size in ('64x64', '64x64, batch 2') for name in ('forward', 'forward-backward')
    ]
    assert all(row['ratio'] > 0 and row['peer'] == 'plain' and row['dtype'] == 'bf16' for row in rows)


def test_attention__another_result_is_no_measurement(monkeypatch, call_tool, capsys):
    own = attention.ms_deform_attn_own
    monkeypatch.setattr(attention, 'ms_deform_attn_own', lambda *inputs: 1.01 * own(*inputs))
    assert call_tool(TOOL, *SMALL, '--batch', 1) == 2
    assert 'do not compute the same' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('args', 'sentence'),
    [
        (['--against', 'mmcv'], '--against mmcv is for --device cuda'),
        (['--size', '100'], 'give multiples of 32'),
        (['--batch', '0'], '1 or more images'),
    ],
)
def test_attention__mistakes(args, sentence, call_tool, capsys):
    assert call_tool(TOOL, *SMALL, *args) == 2
    assert sentence in capsys.readouterr().err


def test_attention_inputs__points_are_around_their_query():
    value, shapes, locations, weights = attention.attention_inputs(64, 1, torch.float32, 'cpu')
    tokens = sum(h * w for h, w in shapes)
    assert (value.shape, locations.shape) == ((1, tokens, 8, 32), (1, tokens, 8, 3, 4, 2))
    assert torch.allclose(weights.flatten(3).sum(3), torch.ones(()))
    last = locations[0, -1, :, 2].mean(dim=(0, 1)) * 8  # pixels of an 8 x 8 level, of the pixel at its lower right
    assert ((last - 7.5).abs() < 1.5).all()
