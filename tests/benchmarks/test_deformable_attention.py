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


def test_attention__against_a_copy(call_tool, tmp_path, capsys):
    out = tmp_path / 'rows.json'
    assert call_tool(TOOL, *SMALL, '--batch', 1, '--against', 'plain', 'copy', '--out', out) == 0
    rows = {(row['peer'], row['name']): row for row in json.loads(out.read_text())}
    assert set(rows) == {(peer, name) for peer in ('plain', 'copy') for name in ('forward', 'forward-backward')}
    printed = capsys.readouterr().out
    assert "share of a copy's bandwidth" in printed and 'against copy' not in printed
    forward = next(line.split() for line in printed.splitlines() if line.startswith('forward  '))
    times = rows['plain', 'forward']['peer_s'], rows['copy', 'forward']['ours_s']
    shares = [f'{100 * rows["copy", "forward"]["peer_s"] / seconds:.2g}' for seconds in times]
    assert forward[1:6] == ['64x64', shares[0], '%', shares[1], '%']


def test_least_bytes__every_tensor_once_in_a_pass():
    value, _, locations, weights = attention.attention_inputs(64, 2, torch.bfloat16, 'cpu')
    tokens = 2 * (64 + 16 + 4)
    values, others = tokens * 256 * 2, tokens * 8 * 12 * 3 * 4  # bf16; x, y and weight of 8 heads and 12 points in fp32
    found = attention.least_bytes(value, locations, weights)
    forward, backward = values + others + values, values + values + others + values + others
    assert found == {'forward': forward, 'forward-backward': forward + backward}


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
