import json

import numpy as np
import pytest

from mmseg_oneformer.datasets import shapes as module
from mmseg_oneformer.datasets.drawing import MIN_STUFF_AREA, MIN_THING_AREA, draw_scene
from mmseg_oneformer.datasets.shapes import ShapesPanoptic, write_shapes


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def load(folder, split='train'):
    return ShapesPanoptic(
        f'annotations/panoptic_{split}.json',
        data_root=str(folder),
        data_prefix=dict(img=f'{split}/', seg=f'annotations/panoptic_{split}/'),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadPanopticIds')],
    )


def test_write_shapes__same_bytes_with_any_number_of_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'FORKING_PAYS', 1)
    assert write_shapes(tmp_path / 'one', train=6, val=3, workers=1)
    assert write_shapes(tmp_path / 'two', train=6, val=3, workers=2)
    assert files(tmp_path / 'one') == files(tmp_path / 'two')
    assert len(files(tmp_path / 'one')) == 2 * 9 + 3


def test_write_shapes__seed_and_size(tmp_path):
    write_shapes(tmp_path / 'a', train=2, val=1)
    write_shapes(tmp_path / 'b', train=2, val=1, seed=1)
    write_shapes(tmp_path / 'c', train=4, val=1)
    a, b, c = (files(tmp_path / name) for name in 'abc')
    assert all(a[name] != b[name] for name in a if name.startswith('train'))
    assert all(a[name] == c[name] for name in a if name.endswith(('jpg', 'png')))
    assert a['train/000001.jpg'] != a['val/000001.jpg']


def test_write_shapes__complete_is_left_alone(tmp_path):
    out = tmp_path / 'shapes'
    out.mkdir()  # An empty folder holds no work.
    assert write_shapes(out, train=2, val=1)
    before = {path: path.stat().st_mtime_ns for path in out.rglob('*')}
    assert not write_shapes(out, train=2, val=1)
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob('*')}
    with pytest.raises(ValueError, match='--overwrite'):
        write_shapes(out, train=3, val=1)
    assert write_shapes(out, train=3, val=1, overwrite=True)
    assert len(load(out)) == 3


def test_write_shapes__foreign_folder_is_not_touched(tmp_path):
    (tmp_path / 'precious').write_text('mine')
    with pytest.raises(ValueError, match='not made by make_shapes'):
        write_shapes(tmp_path, train=2, val=1, overwrite=True)
    assert files(tmp_path) == {'precious': b'mine'}


def test_write_shapes__nothing_half_written(tmp_path, monkeypatch):
    def broken(job):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, '_draw', broken)
    with pytest.raises(KeyboardInterrupt):
        write_shapes(tmp_path / 'shapes', train=2, val=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('settings', [dict(train=0), dict(val=0), dict(size=8), dict(seed=-1)])
def test_write_shapes__bad_arguments(tmp_path, settings):
    with pytest.raises(ValueError, match='needs train, val >= 1'):
        write_shapes(tmp_path / 'shapes', **settings)
    assert not list(tmp_path.iterdir())


def test_shapes__read_back(tmp_path):
    write_shapes(tmp_path / 'shapes', train=12, val=2)
    data = load(tmp_path / 'shapes')
    content = json.loads((tmp_path / 'shapes/annotations/panoptic_train.json').read_text())
    assert data.metainfo['classes'] == tuple(category['name'] for category in content['categories'])
    for index, annotation in enumerate(content['annotations']):
        sample = data[index]
        assert sample['img'].shape == (96, 96, 3) and sample['gt_seg_map'].all()
        for number, segment in enumerate(annotation['segments_info'], start=1):
            rows, columns = np.nonzero(sample['gt_seg_map'] == number)
            left, top, width, height = segment['bbox']
            assert segment['area'] == len(rows)
            assert (left, top) == (columns.min(), rows.min())
            assert (left + width, top + height) == (columns.max() + 1, rows.max() + 1)


def test_draw_scene__segments_stay_large():
    kinds = set()
    for number in range(60):
        scene = draw_scene(96, np.random.default_rng(number))
        areas = np.bincount(scene.segment_map.reshape(-1), minlength=len(scene.names) + 1)[1:] / 96**2
        assert len(areas) == len(scene.names)
        for name, area in zip(scene.names, areas):
            kinds.add(name)
            assert area >= (MIN_STUFF_AREA if name in ('sky', 'grass', 'water') else MIN_THING_AREA)
    assert len(kinds) == 7


def test_make_shapes__tool(load_tool, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main = load_tool('dataset_converters/make_shapes.py').main
    main(['--out', 'data/shapes', '--train', '3', '--val', '2'])
    assert '3 + 2 pictures drawn' in capsys.readouterr().out
    assert len(load(tmp_path / 'data/shapes', 'val')) == 2
    main(['--out', 'data/shapes', '--train', '3', '--val', '2'])
    assert 'already complete' in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        main(['--out', 'data/shapes', '--train', '4', '--val', '2'])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith('error: data/shapes holds shapes')
