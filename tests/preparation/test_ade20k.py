"""ADE20K against a plain second reading of the public preparation's rules."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS
from PIL import Image
from pycocotools.coco import COCO

from mmseg_oneformer.preparation.ade20k import prepare_ade20k

GOLDEN = Path(__file__).parents[1] / 'data/golden.json'


@pytest.fixture
def root(downloads, tmp_path):
    downloads.draw_ade20k(tmp_path / 'ade')
    return tmp_path / 'ade'


def expected(root, stem, things):
    """Label and area of each segment, and the label and instance number of each pixel, pixel by pixel."""
    semantic = np.asarray(Image.open(root / f'annotations/training/{stem}.png'))
    rgb = np.asarray(Image.open(root / f'annotations_instance/training/{stem}.png'))
    pixels = np.full((*semantic.shape, 2), -1)
    areas = {}
    for place, value in np.ndenumerate(semantic):
        if value and int(value) - 1 not in things:
            pixels[place] = (value - 1, 0)
            areas[value - 1, 0] = areas.get((value - 1, 0), 0) + 1
    for place, number in np.ndenumerate(rgb[..., 1]):
        if number:
            label = things[rgb[place][0] - 1]
            pixels[place] = (label, number)
            areas[label, number] = areas.get((label, number), 0) + 1
    return pixels, areas


@pytest.fixture
def things():
    return json.loads(GOLDEN.read_text())['ade20k_thing_ids']


def test_prepare__panoptic_follows_the_rules(root, things, read_panoptic):
    panoptic, _ = prepare_ade20k(root, root, 'train')
    maps, content = read_panoptic(panoptic)
    assert len(maps) == 3
    hidden = 0
    for name, (ids, segments) in maps.items():
        pixels, areas = expected(root, name.removesuffix('.png'), things)
        assert len({segment['id'] for segment in segments}) == len(segments) and (ids == 0).any()
        assert (pixels[ids == 0] == -1).all() and (pixels[ids > 0] != -1).all()
        found = {}
        for segment in segments:
            inside = pixels[ids == segment['id']]
            kinds = {tuple(kind) for kind in inside.tolist()}
            if not kinds:  # stuff that lies under things entirely
                hidden += 1
                continue
            (kind,) = kinds
            found[kind] = segment
            assert segment['category_id'] == kind[0] and segment['area'] == areas[kind] >= len(inside)
            if kind[1]:
                rows, columns = np.nonzero(ids == segment['id'])
                box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
                assert segment['bbox'] == box and segment['area'] == len(rows)
        assert set(found) == {tuple(kind) for kind in np.unique(pixels.reshape(-1, 2), axis=0).tolist()} - {(-1, -1)}
    assert hidden, 'the drawn tree must have hidden stuff'
    assert content['images'][0] == dict(
        id='ADE_train_00000001', file_name='ADE_train_00000001.jpg', width=64, height=48
    )
    assert [entry['id'] for entry in content['categories']] == list(range(150))


def test_prepare__instances_of_the_reference(root, things):
    _, instance = prepare_ade20k(root, root, 'train')
    coco = COCO(str(instance))
    assert sorted(coco.getCatIds()) == things and coco.cats[8]['name'] == 'window '
    for stem in ('ADE_train_00000001', 'ADE_train_00000003'):
        rgb = np.asarray(Image.open(root / f'annotations_instance/training/{stem}.png'))
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=[stem]))
        assert len(annotations) == len(set(rgb[..., 1].flat)) - 1
        for annotation, number in zip(annotations, sorted(set(rgb[..., 1].flat) - {0})):
            mask = coco.annToMask(annotation)
            assert (mask == (rgb[..., 1] == number)).all() and annotation['area'] == mask.sum()
            assert annotation['category_id'] == things[rgb[mask > 0][0, 0] - 1] and annotation['iscrowd'] == 0
    assert sorted(coco.anns) == list(range(1, len(coco.anns) + 1))


def test_prepare__the_data_set_reads_it(root):
    prepare_ade20k(root, root, 'train')
    data = DATASETS.build(
        dict(
            type='Ade20kPanoptic',
            data_root=str(root),
            ann_file='ade20k_panoptic_train.json',
            data_prefix=dict(img='images/training'),
            pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadPanopticIds', allow_absent=True)],
        )
    )
    assert len(data) == 3 and data[0]['gt_seg_map'].shape == (48, 64)


def test_prepare__twice_the_same_bytes(root, tmp_path, tree):
    photos = tree(root)
    prepare_ade20k(root, tmp_path / 'one', 'train')
    first = tree(tmp_path / 'one')
    prepare_ade20k(root, tmp_path / 'one', 'train')
    prepare_ade20k(root, tmp_path / 'two', 'train', processes=2)
    assert tree(tmp_path / 'one') == first == tree(tmp_path / 'two')
    assert len(first) == 5 and tree(root) == photos, 'nothing is written outside of --out, nothing is left behind'


def test_prepare__repairs_a_damaged_file(root, tree):
    prepare_ade20k(root, root, 'train')
    before = tree(root)
    (root / 'ade20k_panoptic_train/ADE_train_00000002.png').write_bytes(b'half')
    prepare_ade20k(root, root, 'train')
    assert tree(root) == before


def test_tool__mistakes(root, call_tool, capsys):
    def error(*args):
        assert call_tool('dataset_converters/ade20k.py', '--root', root, *args) == 2
        assert not list(root.rglob('*.json'))
        return capsys.readouterr().err

    assert 'images/validation does not exist; unpack ADEChallengeData2016.zip' in error('--splits', 'val')
    semantic = root / 'annotations/training/ADE_train_00000001.png'
    good = semantic.read_bytes()
    semantic.write_bytes(good[:100])
    assert f'{semantic} cannot be decoded: it is damaged' in error('--splits', 'train')
    cv2.imwrite(str(semantic), np.full((48, 64), 151, np.uint8))
    assert 'values over 150' in error('--splits', 'train')
    cv2.imwrite(str(semantic), np.zeros((40, 64), np.uint8))
    assert 'is 64x40 but its photo is 64x48' in error('--splits', 'train')
    semantic.write_bytes(good)
    instance = root / 'annotations_instance/training/ADE_train_00000001.png'
    rgb = cv2.imread(str(instance))[..., ::-1].copy()
    rgb[rgb[..., 1] == 1, 0] = np.arange((rgb[..., 1] == 1).sum()) % 2 + 4
    cv2.imwrite(str(instance), rgb[..., ::-1])
    assert f'{instance}: instance 1 has the classes [4, 5]' in error('--splits', 'train')
    instance.unlink()
    assert f'{instance} does not exist' in error('--splits', 'train')
    shutil.rmtree(root / 'annotations_instance')
    assert 'unpack annotations_instance.tar' in error('--splits', 'train')


def test_tool__no_space(root, call_tool, capsys, monkeypatch):
    usage = shutil.disk_usage(root)._replace(free=1000)
    monkeypatch.setattr(shutil, 'disk_usage', lambda folder: usage)
    assert call_tool('dataset_converters/ade20k.py', '--root', root, '--splits', 'train') == 2
    assert 'has 0 MB left' in capsys.readouterr().err


def test_tool__says_what_it_wrote(root, call_tool, capsys):
    assert call_tool('dataset_converters/ade20k.py', '--root', root, '--splits', 'train') == 0
    out = capsys.readouterr().out
    assert out.splitlines() == [f'{root}/ade20k_{kind}_train.json: complete' for kind in ('panoptic', 'instance')]
