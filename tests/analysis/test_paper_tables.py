"""The tools that print tables and operations."""

import json
import re
from pathlib import Path

import pytest

from mmseg_oneformer.analysis.flops import Flops
from mmseg_oneformer.analysis.paper_tables import flops_cells

ROOT = Path(__file__).parents[2]
PHOTOS = ROOT / 'data/coco_mini/val2017'
TABLES, FLOPS = 'analysis_tools/paper_tables.py', 'analysis_tools/get_flops.py'
SHAPES = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
R50 = 'oneformer_r50_8xb2-160k_ade20k-512x512'


def result(model, seed, **metrics):
    return {
        'model': model,
        'seed': seed,
        'iteration': 160000,
        'weights_sha256': f'{seed}abc',
        'num_images': 2000,
        'metrics': metrics,
    }


@pytest.fixture
def runs(tmp_path):
    """Three seeds of joint training, one of a model that knows one token; in work_dirs, where the tool looks."""
    files = {f'seed{seed}': result(R50, seed, own={'PQ': 41 + seed, 'AP': 27.0}) for seed in range(3)}
    files['single'] = result('table-iv_panoptic-only', 0, panoptic={'PQ': 41.2, 'AP': 26.8, 'mIoU': 46.0})
    for name, content in files.items():
        folder = tmp_path / 'work_dirs/deep' / name
        folder.mkdir(parents=True)
        (folder / 'results.json').write_text(json.dumps(content))


def lines_of(capsys):
    return [re.sub(r'  +', ' | ', line) for line in capsys.readouterr().out.splitlines()]


def test_tables__nothing_measured(call_tool, capsys):
    assert call_tool(TABLES, '--table', 'IV', 'V') == 0
    lines = lines_of(capsys)
    assert lines[0].startswith('Table IV: One task alone')
    assert lines[1] == 'training | method | PQ | AP | mIoU'
    assert lines[3] == 'panoptic | Mask2Former | 40.7 | 25.2 | 45.6'
    assert lines[5] == 'instance | Mask2Former | - | 26.4 | -'
    assert 'instance | 25.6 | 60.8 | 0.0 | 45.6 | 6.3' in lines


def test_tables__results_fill_their_cells(call_tool, capsys, runs):
    assert call_tool(TABLES, '--table', 'IV', 'II') == 0
    lines = lines_of(capsys)
    assert lines[1] == 'training | method | PQ | ours | AP | ours | mIoU | ours'
    assert 'joint | OneFormer | 41.9 | 42.0 ± 1.0 (3) | 27.3 | 27.0 ± 0.0 (3) | 47.3 | -' in lines
    assert 'panoptic | OneFormer | 41.4 | 41.2 | 27.0 | 26.8 | 46.1 | 46.0' in lines
    assert 'panoptic | Mask2Former | 40.7 | - | 25.2 | - | 45.6 | -' in lines
    assert '16 | 47 | 47.285 | 41.9 | 42.0 ± 1.0 (3) | 27.3 | 27.0 ± 0.0 (3) | 47.3' in lines
    assert (
        'ours: table-iv_panoptic-only: work_dirs/deep/single/results.json, seed 0, iteration 160000, 2000 images'
        in (lines)
    )


def test_tables__json_and_file(call_tool, tmp_path, runs):
    assert call_tool(TABLES, '--table', 'ii', '--format', 'json', '--out', 'out/tables.json') == 0
    (table,) = json.loads((tmp_path / 'out/tables.json').read_text())
    row = table['rows'][2]
    assert row['published'] == {'context': 16, 'params': 47, 'PQ': 41.9, 'AP': 27.3, 'mIoU': 47.3}
    assert row['config'] == R50 and row['parameters'] == 47_285_015 and row['flops'] is None
    assert row['ours'] == {
        'PQ': {'mean': 42.0, 'deviation': 1.0, 'runs': 3},
        'AP': {'mean': 27.0, 'deviation': 0.0, 'runs': 3},
    }
    assert table['rows'][0]['ours'] == {} and len(table['sources']) == 3


def test_tables__markdown_and_selection(call_tool, capsys):
    assert call_tool(TABLES, '--table', '7', '--columns', 'method', 'params', '--format', 'markdown') == 0
    out = capsys.readouterr().out
    assert '| method | params M | ours |\n| --- | ---: | ---: |\n| OneFormer | 219 | 218.811 |\n' in out
    assert '| Mask2Former-Joint | 216 | 215.540 |' in out


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--table', '9'], 'no Table 9'),
        (['--columns', 'PG'], 'no table has a column "PG"'),
        (['--results', 'absent'], 'There is no folder absent'),
    ],
)
def test_tables__mistakes(call_tool, capsys, arguments, message):
    assert call_tool(TABLES, *arguments) == 2
    assert message in capsys.readouterr().err


def test_flops_cells__differences_add_up():
    flops = Flops(seen=90.0, all=95.0, network=5.0, postprocessing=10.0)
    assert flops_cells(flops, 100) == ['90.0', '-10.0', '95.0', '-5.0', '105.0', '+5.0', '95.0']
    assert flops_cells(Flops(90.0, 95.0, 5.0, None), 100)[4:6] == ['-', '-']
    assert flops_cells(Flops(90.0, 95.0, None, None), None) == ['90.0', '-', '-', '-', '-', '-', '95.0']
    assert flops_cells(None, 100) == ['-'] * 7


def test_tables__without_photos(call_tool, capsys):
    """COCO's FLOPs are means over photos: without any there is a dash and a reason."""
    assert call_tool(TABLES, '--table', '3', '--ours', '--columns', 'flops', '--flops') == 0
    lines = lines_of(capsys)
    assert lines[1:5] == ['FLOPs G', '-------', '891', '736']
    assert 'none are given; name folders of photos with --photos' in lines[-1]


def test_get_flops__parts_and_sizes(call_tool, capsys):
    assert call_tool(FLOPS, SHAPES, '--size', '64', '96', '--json') == 0
    content = json.loads(capsys.readouterr().out)
    assert content['sizes'] == [{'height': 64, 'width': 96, 'images': 1}]
    assert content['parameters'] == 2_105_088 and content['unknown'] == []
    assert list(content['parts'])[:2] == ['backbone', 'head.pixel_decoder']
    for which in ('seen', 'all'):
        assert sum(part[which] for part in content['parts'].values()) == pytest.approx(content['total'][which])
    assert call_tool(FLOPS, SHAPES, '--size', '64', '96') == 0
    text = capsys.readouterr().out
    assert f'{content["total"]["seen"] / 1e9:.3f}' in text and 'images: 64 x 96 (1)' in text


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([SHAPES], 'give --size H W'),
        ([SHAPES, '--size', '0', '96'], '--size is 0 96'),
        (['oneformer_r50_8xb2-50e_coco-1024x1024', '--photos', 'absent'], 'absent has no photos'),
    ],
)
def test_get_flops__mistakes(call_tool, capsys, arguments, message):
    assert call_tool(FLOPS, *arguments) == 2
    assert message in capsys.readouterr().err


def documented(number):
    """The lines of a table of docs/flops.md."""
    page = (ROOT / 'docs/flops.md').read_text()
    section = page.split(f'## Table {number}: ')[1].split('\n## ')[0]
    return [line for line in section.splitlines() if line.startswith('|')]


@pytest.mark.slow
@pytest.mark.parametrize('number', ['1', '2', '3'])
def test_docs__tables_are_the_tools(call_tool, capsys, number):
    if number == '3' and not PHOTOS.is_dir():
        pytest.skip('data/coco_mini is not here; the documented means are over its photos')
    columns = ('backbone', 'crop', 'params', 'flops')
    arguments = ['--table', number, '--ours', '--flops', '--format', 'markdown', '--columns', *columns]
    if number == '3':
        arguments += ['--photos', PHOTOS.parent / 'train2017', PHOTOS]
    assert call_tool(TABLES, *arguments) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith('|')]
    assert len(lines) > 3 and lines == documented(number)


def test_docs__every_row_is_there():
    assert [len(documented(number)) - 2 for number in '123'] == [8, 4, 2]
