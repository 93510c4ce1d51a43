import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mmseg_oneformer.datasets.doctor import RULES, rules_table

ROOT = Path(__file__).resolve().parents[3]
TOOL = 'dataset_doctor.py'
PAGE = ROOT / 'docs/dataset_doctor.md'
CAT = 5


@pytest.fixture
def doctor(call_tool, data):
    """Run the tool on the data as they are; returns the exit status."""
    return lambda *args: call_tool(TOOL, data.write(), *args)


def test_clean__status_0(doctor, capsys):
    assert doctor() == 0
    out = capsys.readouterr().out
    assert '2 images, 6 segments, 0.0 % void, 3 classes (2 things)' in out
    assert '0 errors, 0 warnings, 0 notes; 2 images in ' in out
    assert re.search(r'^ +0 +tree +stuff +2 +2 +0 +2 +0 +50\.00$', out, re.MULTILINE)


@pytest.mark.parametrize(
    ('rule', 'flags', 'status'),
    [
        ('id-not-in-map', (), 1),
        ('area-drift', (), 0),
        ('area-drift', ('--strict',), 1),
        ('crowd', ('--strict',), 0),
        ('photo-missing', ('--jobs', '2', '--deep'), 1),
    ],
)
def test_status(doctor, data, planted, rule, flags, status):
    planted[rule](data)
    assert doctor(*flags) == status


@pytest.mark.parametrize('flag', ['', '--val', '--against'])
def test_json__never_writes_over_what_is_examined(doctor, data, capsys, flag):
    path = data.write_instances([]) if flag == '--against' else data.write_val() if flag else data.write()
    before = path.read_bytes()
    assert doctor(*([flag, path] if flag else []), '--json', path) == 2
    assert 'is an input, which is never written over' in capsys.readouterr().err
    assert path.read_bytes() == before


def test_report__for_people(doctor, data, planted, capsys):
    for number in range(3, 7):
        data.add(number, (30, 30))
    for image in data.content['images']:
        data.segment(image['id'], CAT)['area'] = 1
    planted['photo-missing'](data)
    assert doctor() == 1
    out = capsys.readouterr().out
    assert re.search(r'^error +photo-missing +1 +1 +16\.7 +-$', out, re.MULTILINE)
    assert re.search(r'^warning +area-drift +6 +6 +100\.0 +yes$', out, re.MULTILINE)
    assert out.index('error photo-missing: A photo does not exist.') < out.index('warning area-drift:')
    assert '  1.png: segment 7 (cat): area 1, 400 pixels\n' in out and '  ... and 3 more\n' in out
    assert '  -> Put it there, or correct the path.\n' in out
    assert '1 error, 6 warnings, 0 notes; 6 images' in out


def test_report__of_many_classes_the_first_and_the_last(doctor, data, capsys):
    ids, table = data.ids[1], data.annotation(1)['segments_info']
    for number in range(50):
        data.content['categories'].append(dict(id=100 + number, name=f'class{number}', isthing=1))
        table.append(dict(id=100 + number, category_id=100 + number))
        ids[number // 2, number % 2 * 20 : number % 2 * 20 + 20] = 100 + number
    data.write_map(1, ids)
    doctor()
    out = capsys.readouterr().out
    histogram = out.partition('Targets by task')[2]
    assert '... 13 more in --json' in histogram and 'class49' in histogram and 'class20' not in histogram


def test_report__for_programs(doctor, data, planted, tmp_path):
    more = planted['instance-merged'](data)
    planted['segment-kind'](data)
    assert doctor('--json', tmp_path / 'out/report.json', '--against', more['against'], '--fix') == 0
    report = json.loads((tmp_path / 'out/report.json').read_text())
    assert report['counts'] == dict(error=0, warning=1, note=2)
    assert [rule['rule'] for rule in report['rules']] == ['segment-kind', 'instance-merged']
    assert report['rules'][0]['findings'] == [
        dict(image_id=1, file='1.png', segment_id=7, text='segment 7 says stuff, its category cat is thing')
    ]
    assert [one['with_instances'] for one in report['instances']] == [[2], [1]]
    assert report['fixes'] == ['1.png: isthing of segment 7 is 1, as of its category']
    schema = PAGE.read_text().partition('## The JSON')[2]
    documented = set(re.findall(r'^\| `(\w+)` \|', schema, re.MULTILINE))
    assert documented == {*report, *report['rules'][0], *report['classes'][0], *report['instances'][0]} | {
        *report['rules'][0]['findings'][0]
    }


def test_fix__says_how_to_use_it(doctor, data, planted, capsys):
    assert doctor('--fix') == 0
    assert 'Nothing that --fix could correct.' in capsys.readouterr().out
    planted['stuff-twice'](data)
    assert doctor('--fix') == 0
    out = capsys.readouterr().out
    stem = data.folder / 'annotations/panoptic_train.fixed'
    assert f'3 changes, listed in {stem}.txt' in out
    assert f"ann_file='{stem}.json', data_prefix=dict(seg='{stem}')" in out
    assert doctor('--fix') == 2
    assert 'is there already' in capsys.readouterr().err


def test_val__leak_and_config(doctor, data, planted, tmp_path, capsys):
    val = planted['leak'](data)['val']
    config = tmp_path / 'config.py'
    config.write_text(f'train_dataloader = {data.config().train_dataloader.to_dict()!r}\n')
    assert doctor('--val', val) == 1
    assert doctor('--val', val, '--config', config, '--val-images', tmp_path / 'val') == 1
    assert capsys.readouterr().out.count('error leak: A photo of the validation data') == 2


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (None, 'does not exist'),
        ('{"images": [', 'not valid JSON'),
        ('[1, 2]', 'not a COCO panoptic JSON'),
        ('{"images": [], "categories": [], "annotations": [{"bbox": []}]}', 'not the instance one'),
        ('{"images": [], "categories": []}', 'has no annotations'),
    ],
)
def test_mistakes__wrong_files(call_tool, tmp_path, capsys, content, words):
    path = tmp_path / 'panoptic.json'
    if content is not None:
        path.write_text(content)
    assert call_tool(TOOL, path) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith('error: ') and words in captured.err and captured.err.count('\n') == 1


@pytest.mark.parametrize(
    ('args', 'words'),
    [
        (('--jobs', '0'), '--jobs must be at least 1'),
        (('--images', 'nowhere'), 'Folder nowhere does not exist'),
        (('--config', 'no-such-model'), 'neither a config file nor the name of a model'),
        (('--val', 'none.json'), 'none.json does not exist'),
        (('--against', 'none.json'), 'none.json does not exist'),
    ],
)
def test_mistakes__wrong_flags(doctor, capsys, args, words):
    assert doctor(*args) == 2
    assert words in capsys.readouterr().err


@pytest.mark.slow
def test_pipe__closed_early(data, planted):
    planted['photo-missing'](data)
    command = f'{sys.executable} {ROOT}/tools/{TOOL} {data.write()} | true; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(['bash', '-c', command], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == '141' and 'Traceback' not in done.stderr


@pytest.mark.parametrize('split', ['train2017', 'val2017'])
def test_real_photos__no_error(call_tool, coco_mini, split, tmp_path):
    path = coco_mini / f'annotations/panoptic_{split}.json'
    config = 'oneformer_r50_8xb2-50e_coco-1024x1024'
    other = coco_mini / 'annotations/panoptic_val2017.json'
    flags = ('--val', other) if split == 'train2017' else ()
    assert call_tool(TOOL, path, '--config', config, '--deep', '--json', tmp_path / 'r.json', *flags) == 0
    report = json.loads((tmp_path / 'r.json').read_text())
    notes = {rule['rule']: rule['count'] for rule in report['rules'] if rule['severity'] != 'warning'}
    expected = {'train2017': {'crowd': 1, 'image-without-things': 1, 'photo-grey': 1}}
    assert notes == expected.get(split, {'crowd': 2, 'segment-tiny': 2})


def test_docs__table_of_rules_is_that_of_the_code():
    assert rules_table() in PAGE.read_text()
    assert len(RULES) == rules_table().count('\n') - 1


def test_docs__every_rule_once():
    names = re.findall(r'^\| `([a-z0-9-]+)` \| (?:error|warning|note) \|', PAGE.read_text(), re.MULTILINE)
    assert names == list(RULES)


@pytest.mark.parametrize(
    ('name', 'config'),
    [
        ('ade20k', 'oneformer_r50_8xb2-160k_ade20k-512x512'),
        ('cityscapes', 'oneformer_r50_8xb2-90k_cityscapes-512x1024'),
        ('coco', 'oneformer_r50_8xb2-50e_coco-1024x1024'),
        ('mapillary', 'oneformer_r50_8xb2-300k_mapillary-1024x1024'),
    ],
)
def test_benchmarks__no_error_by_their_configs(call_tool, drawn_benchmarks, tmp_path, name, config):
    """Folders, file names, a category for void, and ADE20K's segments without a pixel are the config's matter."""
    drawn_benchmarks.draw_benchmark(name, tmp_path, train=3, val=2)
    benchmark = drawn_benchmarks.BENCHMARKS[name]
    train, val = (Path(benchmark.root) / benchmark.json(split) for split in ('train', 'val'))
    assert call_tool(TOOL, train, '--config', config, '--val', val, '--json', 'report.json') == 0
    report = json.loads(Path('report.json').read_text())
    assert report['images'] == 3
    rules = {rule['rule'] for rule in report['rules']}
    assert ('segment-covered' in rules) == (name == 'ade20k') and ('crowd' in rules) == (name != 'ade20k')
