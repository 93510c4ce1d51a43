"""Cityscapes against cityscapesScripts, and by hand where that is not installed."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS

from mmseg_oneformer.preparation.cityscapes import prepare_cityscapes


@pytest.fixture
def root(downloads, tmp_path):
    for split in ('train', 'val', 'test'):
        downloads.draw_cityscapes(tmp_path / 'cs', split)
    return tmp_path / 'cs'


def test_prepare__equals_cityscapesscripts(root, tmp_path, read_panoptic, monkeypatch):
    pytest.importorskip('cityscapesscripts', reason='pip install cityscapesScripts')
    from cityscapesscripts.helpers.labels import id2label
    from cityscapesscripts.preparation.createPanopticImgs import convert2panoptic

    official = tmp_path / 'official'
    official.mkdir()
    convert2panoptic(str(root / 'gtFine'), str(official))
    for split in ('train', 'val', 'test'):
        (path,) = prepare_cityscapes(root, tmp_path / 'ours', split)
        theirs, their_content = read_panoptic(official / path.name)
        ours, our_content = read_panoptic(path)
        assert our_content == their_content and len(ours) == 2
        assert any(segment['iscrowd'] for _, segments in ours.values() for segment in segments)
        for name, (ids, _) in ours.items():
            assert (ids == theirs[name][0]).all() and (ids > 0).any() and (ids == 0).any()
        for source in (root / f'gtFine/{split}').rglob('*_labelIds.png'):
            labels = cv2.imread(str(source), cv2.IMREAD_UNCHANGED)
            made = (
                tmp_path / 'ours' / source.relative_to(root).with_name(source.name.replace('labelIds', 'labelTrainIds'))
            )
            train_ids = np.vectorize(lambda value: id2label[value].trainId)(labels)
            assert (cv2.imread(str(made), cv2.IMREAD_UNCHANGED) == train_ids).all()


def test_prepare__by_hand(root, downloads, read_panoptic):
    """A road, a group of cars, two persons, a caravan and the car's own bonnet."""
    folder = root / 'gtFine/val/bonn'
    ids = np.full((10, 12), 7, np.uint16)
    ids[:2], ids[2:4, :6], ids[4:7, 2], ids[4:7, 5], ids[9] = 26, 29000, 24000, 24007, 1
    downloads.save(folder / 'bonn_000000_000000_gtFine_instanceIds.png', ids)
    downloads.save(
        folder / 'bonn_000000_000000_gtFine_labelIds.png', np.where(ids < 1000, ids, ids // 1000).astype(np.uint8)
    )
    (path,) = prepare_cityscapes(root, root, 'val')
    found, segments = read_panoptic(path)[0]['bonn_000000_000000_gtFine_panoptic.png']
    assert segments == [
        dict(id=7, category_id=7, area=60 + 6 + 6 - 6, bbox=[0, 2, 12, 7], iscrowd=0),
        dict(id=26, category_id=26, area=24, bbox=[0, 0, 12, 2], iscrowd=1),
        dict(id=24000, category_id=24, area=3, bbox=[2, 4, 1, 3], iscrowd=0),
        dict(id=24007, category_id=24, area=3, bbox=[5, 4, 1, 3], iscrowd=0),
    ]
    assert (found == np.where((ids == 1) | (ids == 29000), 0, ids)).all()
    train_ids = cv2.imread(str(folder / 'bonn_000000_000000_gtFine_labelTrainIds.png'), cv2.IMREAD_UNCHANGED)
    assert train_ids[:, 2].tolist() == [13, 13, 255, 255, 11, 11, 11, 0, 0, 255]


def test_prepare__the_data_set_reads_it(root):
    prepare_cityscapes(root, root, 'val')
    data = DATASETS.build(
        dict(
            type='CityscapesPanoptic',
            data_root=str(root),
            ann_file='gtFine/cityscapes_panoptic_val.json',
            data_prefix=dict(img='leftImg8bit/val/', seg='gtFine/cityscapes_panoptic_val/'),
            pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadPanopticIds')],
        )
    )
    assert len(data) == 2 and data[1]['gt_seg_map'].max() == len(data[1]['segments_info'])


def test_prepare__twice_the_same_bytes(root, tree):
    prepare_cityscapes(root, root, 'val')
    first = tree(root)
    prepare_cityscapes(root, root, 'val')
    assert tree(root) == first and not list(root.rglob('.*'))
    assert json.loads(first['gtFine/cityscapes_panoptic_val.json'])['images'][1]['id'] == 'ulm_000000_000001'


def test_tool__mistakes(root, call_tool, capsys):
    def error(*args):
        assert call_tool('dataset_converters/cityscapes.py', '--root', root, *args) == 2
        return capsys.readouterr().err

    stem = root / 'gtFine/val/ulm/ulm_000000_000001_gtFine'
    Path(f'{stem}_labelIds.png').unlink()
    assert 'ulm_000000_000001_gtFine_labelIds.png does not exist' in error('--splits', 'val')
    cv2.imwrite(f'{stem}_instanceIds.png', np.full((8, 8), 40000, np.uint16))
    cv2.imwrite(f'{stem}_labelIds.png', np.zeros((8, 8), np.uint8))
    assert 'not instanceIds of gtFine' in error('--splits', 'val')
    for path in (root / 'gtFine/train').rglob('*_instanceIds.png'):
        path.unlink()
    assert 'gtFine/train has no _gtFine_instanceIds.png file; unpack gtFine_trainvaltest.zip' in error()
    assert not list(root.rglob('*.json'))
