"""The benchmark from the command line to its JSON, on a model small enough for a test; figures are not judged."""

import json

import pytest

from benchmarks.settings import context
from mmseg_oneformer.zoo.configs import read_config

TOOL = 'analysis_tools/benchmark.py'
SWIN = 'oneformer_swin-t_8xb2-160k_ade20k-512x512'
BUNDLED = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'


@pytest.fixture
def measure(call_tool, small_models, tmp_path, capsys, monkeypatch):
    """Run a subcommand on a narrow model, once, at 64 pixels; returns rows by name and what was printed."""
    # For the rest of the process, which has other tests to run.
    for module in ('infer', 'train'):
        monkeypatch.setattr(f'benchmarks.{module}.keep_freed_memory', lambda: True)
    # transformers wants a text encoder as wide as the queries.
    wide = {'model.head.channels': 64, 'model.text_mapper.width': 64}
    options = small_models.command_line(small_models.small_model(read_config(SWIN)) | wide)

    def run(command, *args, model=SWIN):
        narrow = ['--cfg-options', *options] if model == SWIN else []
        small = [
            '--segments',
            5,
            '--model',
            model,
            '--size',
            64,
            '--runs',
            1,
            '--warmup',
            0,
            '--out',
            tmp_path / 'rows.json',
        ]
        status = call_tool(TOOL, command, *small, *args, *narrow)
        printed = capsys.readouterr()
        assert status == 0, printed.err
        rows = json.loads((tmp_path / 'rows.json').read_text())
        return {row['name']: row for row in rows}, printed.out

    return run


def test_infer__parts_of_the_bundled_model(measure, tmp_path):
    rows, printed = measure('infer', '--trace', tmp_path / 'trace.json', '--syncs', model=BUNDLED)
    parts = {name.partition('/')[2] for name in rows if name.startswith('three-answers/')}
    network = {'backbone', 'pixel decoder', 'query initialiser', 'decoder', 'rest'}
    assert parts == network | {f'{task} answer' for task in ('semantic', 'instance', 'panoptic')}
    row = rows['one-answer']
    assert (row['device'], row['dtype'], row['size'], row['peer_s'], row['ratio']) == (
        'cpu',
        'fp32',
        '64x64',
        None,
        None,
    )
    assert row['ours_s'] > 0 and row['runs'] == 1 and 'benchmark.py infer' in row['command'] and row['machine']
    assert 'three-answers: the host waits' in printed and 'models/postprocess' in printed

    events = json.loads((tmp_path / 'trace.json').read_text())['traceEvents']
    assert parts - {'rest'} <= {event.get('name') for event in events}


def test_infer__against_transformers(measure):
    pytest.importorskip('transformers')
    rows, printed = measure('infer', '--against', 'transformers')
    assert 'same weights: the logits of all tasks differ by' in printed
    for name in ('one-answer', 'three-answers'):
        assert rows[name]['peer'] == 'transformers'
        assert rows[name]['ratio'] == rows[name]['ours_s'] / rows[name]['peer_s']
    assert set(rows) == {'one-answer', 'three-answers'}


@pytest.mark.parametrize('model', [SWIN, BUNDLED])
def test_infer__against_mask2former(measure, model):
    rows, _ = measure('infer', '--against', 'mask2former', '--batch', 2, model=model)
    assert rows['three-answers']['peer'] == 'mask2former' and rows['three-answers']['size'] == '64x64, batch 2'


def test_infer__in_bf16_against_fp32(measure):
    rows, _ = measure('infer', '--dtype', 'bf16', '--against', 'fp32', model=BUNDLED)
    assert rows['one-answer']['dtype'] == 'bf16' and rows['one-answer']['peer_s'] > 0


def test_infer__over_queries(measure):
    rows, printed = measure('infer', '--over', 'queries=8,16,32', model=BUNDLED)
    assert [name for name in rows if name.startswith('one')] == [f'one-answer@queries={n}' for n in (8, 16, 32)]
    assert 'three-answers at 64x64 over queries' in printed and 'exponent' in printed


def test_train__parts_of_the_bundled_model(measure, tmp_path):
    rows, printed = measure('train', '--trace', tmp_path / 'trace.json', '--syncs', model=BUNDLED)
    parts = {name.partition('/')[2] for name in rows} - {''}
    assert parts == {'preprocessing', 'backbone', 'head', 'texts', 'losses', 'backward', 'optimiser', 'rest'}
    assert rows['train-step']['size'] == '64x64, batch 2' and 'the whole process' in printed
    assert 'models/losses/matcher.py' in printed
    events = json.loads((tmp_path / 'trace.json').read_text())['traceEvents']
    assert parts - {'rest'} <= {event.get('name') for event in events}


@pytest.mark.parametrize('peer', ['mask2former', 'transformers'])
def test_train__against(peer, measure):
    if peer == 'transformers':
        pytest.importorskip('transformers')
    rows, _ = measure('train', '--against', peer)
    assert set(rows) == {'train-step'} and rows['train-step']['peer'] == peer


def test_train__in_bf16_over_segments(measure):
    rows, printed = measure('train', '--dtype', 'bf16', '--over', 'segments=1,20', '--batch', 1, model=BUNDLED)
    assert set(rows) == {'train-step@segments=1', 'train-step@segments=20'}
    assert 'train-step at 64x64 over segments' in printed


def test_report__from_json_into_a_page(call_tool, tmp_path, capsys):
    def row(name, ours, peer_s=None, **more):
        context = dict(command=f'benchmark.py {name}', machine='m, 2 threads', versions='torch 2')
        return row_fields | dict(name=name, ours_s=ours, peer_s=peer_s, ratio=peer_s and ours / peer_s) | context | more

    row_fields = dict(ours_peak_mb=80.0, peer_peak_mb=None, device='cpu', dtype='fp32', size='64x64')
    files = {
        'pair': [row('three-answers', 1.5, 6.0, peer='transformers', ours_spread=[1.2, 1.8])],
        'parts': [row('train-step', 4.0), row('train-step/backward', 3.0), row('train-step/rest', 1.0)],
        'over': [row(f'train-step@queries={n}', float(n)) for n in (50, 100)],
    }
    for name, rows in files.items():
        (tmp_path / f'{name}.json').write_text(json.dumps(rows))
    page = tmp_path / 'page.md'
    page.write_text('# Title\n<!-- report of benchmark.py -->\nold\n<!-- end of the report -->\nafter\n')
    paths = [tmp_path / f'{name}.json' for name in files]
    assert call_tool(TOOL, 'report', *paths) == call_tool(TOOL, 'report', *paths, '--into', page) == 0

    report = capsys.readouterr().out
    text = page.read_text()
    assert report in text and text.startswith('# Title') and text.endswith('after\n') and 'old' not in text
    lines = report.splitlines()
    assert (
        '| three-answers | 64x64 | fp32 | 1.50 s (1.20 s to 1.80 s) | transformers 6.00 s | **0.25** | 80 MB | - |'
        in lines
    )
    assert '| backward | 3.00 s | 75 % |' in lines and '| all | 4.00 s | 80 MB |' in lines
    assert not [line for line in lines if line.startswith('| train-step | ')]
    assert '| exponent | 1.00 (1.00) | 0.00 (0.00) |' in lines
    assert lines.count('m, 2 threads; torch 2') == 1 and 'benchmark.py train-step' in lines

    page.write_text('# No marks')
    assert call_tool(TOOL, 'report', *paths, '--into', page) == 2
    assert 'has no place for a report' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('args', 'sentence'),
    [
        (['infer', '--size', '100'], 'give multiples of 32'),
        (['infer', '--size', '64', '64', '64'], 'give a height and a width'),
        (['infer', '--batch', '0'], '--batch is 0; give 1 or more'),
        (['infer', '--dtype', 'fp16'], 'fp16 is for GPUs only'),
        (['infer', '--runs', '0'], '--runs is 0; give 1 or more'),
        (['infer', '--device', 'cuda:7'], 'choose cpu, or cuda'),
        (['infer', '--model', 'nothing'], 'neither a config file nor the name of a model'),
        (['infer', '--model', 'mask2former_r50_8xb2-160k_ade20k-512x512_joint'], 'is not a OneFormer'),
        (['infer', '--over', 'depth=3'], 'is not NAME=VALUE'),
        (['infer', '--over', 'size=64', '--trace', 'x.json'], 'leave out --over'),
        (['infer', '--model', BUNDLED, '--segments', '30'], 'the model has 20 queries'),
        (['train', '--batch', '-1'], '--batch is -1; give 1 or more'),
        (['infer', '--model', BUNDLED, '--segments', '9', '--against', 'transformers'], 'choose another'),
    ],
)
def test_mistakes__one_sentence(args, sentence, call_tool, capsys):
    assert call_tool(TOOL, *args) == 2
    error = capsys.readouterr().err
    assert sentence in error and 'Traceback' not in error


def test_context__the_command_without_the_place_of_its_file():
    for argv in (['infer', '--runs', '3', '--out', 'home/me/x.json'], ['infer', '--out=home/me/x.json', '--runs', '3']):
        assert context('cpu', argv)['command'] == 'python tools/analysis_tools/benchmark.py infer --runs 3'
