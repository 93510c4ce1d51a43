"""COCO's derived files against pycocotools and a plain reading; Mapillary's instances by hand."""

import json

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS
from PIL import Image
from pycocotools.coco import COCO

from mmseg_oneformer.errors import UserError
from mmseg_oneformer.preparation.coco import prepare_coco
from mmseg_oneformer.preparation.mapillary import prepare_mapillary


@pytest.fixture(scope='module')
def derived(coco_mini, tmp_path_factory):
    out = tmp_path_factory.mktemp('coco')
    return prepare_coco(coco_mini, out, 'val')


def test_coco__instances_are_the_things(coco_mini, derived, read_panoptic):
    maps, content = read_panoptic(coco_mini / 'annotations/panoptic_val2017.json')
    coco = COCO(str(derived[0]))
    things = {category['id'] for category in content['categories'] if category['isthing']}
    assert set(coco.cats) == things and len(coco.imgs) == len(maps)
    count = crowds = 0
    for annotation in content['annotations']:
        ids, segments = maps[annotation['file_name']]
        wanted = [segment for segment in segments if segment['category_id'] in things]
        found = coco.loadAnns(coco.getAnnIds(imgIds=[annotation['image_id']]))
        assert len(found) == len(wanted)
        for entry, segment in zip(found, wanted):
            assert (coco.annToMask(entry) == (ids == segment['id'])).all()
            for key in ('category_id', 'iscrowd', 'area', 'bbox'):
                assert entry[key] == segment[key]
            count, crowds = count + 1, crowds + segment['iscrowd']
    assert count == len(coco.anns) > 100 and crowds and min(coco.anns) == 1


def test_coco__label_maps(coco_mini, derived, read_panoptic):
    maps, content = read_panoptic(coco_mini / 'annotations/panoptic_val2017.json')
    order = sorted(category['id'] for category in content['categories'])
    assert sorted(path.name for path in derived[1].iterdir()) == sorted(maps)
    for name, (ids, segments) in maps.items():
        expected = np.full(ids.shape, 255)
        for segment in segments:
            expected[ids == segment['id']] = order.index(segment['category_id'])
        assert (np.asarray(Image.open(derived[1] / name)) == expected).all()


def test_coco__loading_derives_the_same(coco_mini, derived):
    """What the documentation says: the panoptic JSON alone gives the semantic map."""
    data = DATASETS.build(
        dict(
            type='CocoPanoptic',
            data_root=str(coco_mini),
            ann_file='annotations/panoptic_val2017.json',
            data_prefix=dict(img='val2017'),
            test_mode=True,
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadPanopticIds'),
                dict(type='PackOneFormerInputs'),
            ],
        )
    )
    for index in range(0, len(data), 5):
        sample = data[index]['data_samples']
        derived_map = np.asarray(Image.open(derived[1] / f'{sample.img_id:012d}.png'))
        assert (sample.gt_sem_seg.sem_seg[0].numpy() == derived_map).all()


def test_coco__twice_the_same_bytes(coco_mini, derived, tree, tmp_path):
    folder = derived[0].parents[1]
    before = tree(folder)
    prepare_coco(coco_mini, folder, 'val', processes=1)
    assert tree(folder) == before and not list(folder.rglob('.*'))


def test_coco__mistakes(coco_mini, tmp_path, call_tool, capsys):
    def error():
        assert call_tool('dataset_converters/coco.py', '--root', tmp_path, '--out', tmp_path / 'out') == 2
        return capsys.readouterr().err

    assert 'panoptic_val2017.json does not exist; unpack panoptic_annotations_trainval2017.zip' in error()
    content = json.loads((coco_mini / 'annotations/panoptic_val2017.json').read_text())
    (tmp_path / 'annotations').mkdir()
    target = tmp_path / 'annotations/panoptic_val2017.json'
    target.write_text(json.dumps(content))
    assert 'and the panoptic_val2017.zip inside it' in error()
    (tmp_path / 'annotations/panoptic_val2017').mkdir()
    assert f'{content["annotations"][0]["file_name"]} does not exist' in error()
    target.write_text(json.dumps({**content, 'categories': content['categories'][1:]}))
    assert 'does not have the 133 categories' in error()
    assert not list((tmp_path / 'out').rglob('*.json'))


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        (lambda content: json.dumps(content)[:-9], 'is not valid JSON'),
        (lambda content: json.dumps([content]), 'is not a COCO panoptic JSON'),
        (lambda content: json.dumps({**content, 'images': [{}]}), 'image number 1 has no "id"'),
        (lambda content: json.dumps({**content, 'annotations': [{'image_id': 1}]}), 'has no "file_name"'),
    ],
)
def test_coco__a_damaged_json_is_one_sentence(tmp_path, drawn_benchmarks, change, sentence):
    root = drawn_benchmarks.draw_benchmark('coco', tmp_path, train=1, val=1, size=32)
    path = root / 'annotations/panoptic_val2017.json'
    path.write_text(change(json.loads(path.read_text())))
    with pytest.raises(UserError, match=rf'(?s)panoptic_val2017\.json.*{sentence}'):
        prepare_coco(root, tmp_path / 'out', 'val', processes=1)


def test_coco__a_map_of_another_depth_is_named(tmp_path, drawn_benchmarks):
    root = drawn_benchmarks.draw_benchmark('coco', tmp_path, train=1, val=1, size=32)
    (path,) = (root / 'annotations/panoptic_val2017').iterdir()
    cv2.imwrite(str(path), np.zeros((32, 32, 3), np.uint16))
    with pytest.raises(UserError, match=rf'{path.name} has 16 bits a channel'):
        prepare_coco(root, tmp_path / 'out', 'val', processes=1)


@pytest.fixture
def vistas(downloads, tmp_path):
    downloads.draw_mapillary(tmp_path / 'mv')
    return tmp_path / 'mv'


def test_mapillary__made_from_instances(vistas, read_panoptic, tree):
    (path,) = prepare_mapillary(vistas, vistas, 'val')
    assert path == vistas / 'validation/panoptic/panoptic_2018.json'
    maps, content = read_panoptic(path, path.parent)
    meta = DATASETS.get('MapillaryPanoptic').METAINFO
    assert [category['name'] for category in content['categories']] == list(meta['classes'])
    for name, (ids, segments) in maps.items():
        values = cv2.imread(str(vistas / 'validation/instances' / name), cv2.IMREAD_UNCHANGED).astype(int)
        wanted = {v // 256 if v // 256 not in meta['thing_ids'] else v for v in set(values.flat) if v // 256 != 65}
        assert len(segments) == len(wanted)
        for segment in segments:
            label = segment['category_id'] - 1
            inside = set(values[ids == segment['id']].tolist())
            assert {value // 256 for value in inside} == {label}
            assert len(inside) == 1 or label not in meta['thing_ids']
            assert segment['area'] == (ids == segment['id']).sum()
        assert (values[ids == 0] // 256 == 65).all() and (ids[values // 256 == 65] == 0).all()
    first = tree(vistas)
    prefix = dict(img=str(vistas / 'validation/images'), seg=str(path.parent))
    load = [dict(type='LoadImageFromFile'), dict(type='LoadPanopticIds')]
    data = DATASETS.build(dict(type='MapillaryPanoptic', ann_file=str(path), data_prefix=prefix, pipeline=load))
    assert data.metainfo['thing_ids'] == meta['thing_ids'] and data[1]['gt_seg_map'].shape == (48, 64)
    prepare_mapillary(vistas, vistas, 'val')
    assert tree(vistas) == first


def test_mapillary__checks_the_release(vistas, call_tool, capsys):
    (path,) = prepare_mapillary(vistas, vistas, 'val')

    def error():
        assert call_tool('dataset_converters/mapillary.py', '--root', vistas, '--splits', 'val') == 2
        return capsys.readouterr().err

    content = json.loads(path.read_text())
    unlabeled = dict(id=66, name='Unlabeled', isthing=0, supercategory='void', color=[0, 0, 0])
    path.write_text(json.dumps({**content, 'categories': [*content['categories'], unlabeled]}))
    assert call_tool('dataset_converters/mapillary.py', '--root', vistas, '--splits', 'val') == 0
    path.write_text(json.dumps({**content, 'categories': content['categories'][1:]}))
    assert '65 classes and 37 things' in error()
    path.write_text(json.dumps(content))
    (path.parent / 'v1.png').unlink()
    assert 'panoptic/v1.png does not exist' in error()
    (vistas / 'validation/images/v0.jpg').unlink()
    assert 'images/v0.jpg of' in error()


@pytest.mark.parametrize(
    'content', ['\xff', '[]', '{}', '{"labels": [3]}', '{"labels": 3}', '{"labels": [{"readable": 3}]}']
)
def test_mapillary__a_list_of_labels_that_is_none(vistas, content):
    (vistas / 'config.json').write_bytes(content.encode('latin-1'))
    with pytest.raises(UserError, match=r'config\.json (is not valid JSON|does not have the 66 labels)'):
        prepare_mapillary(vistas, vistas, 'val', processes=1)


@pytest.mark.parametrize(('key', 'value'), [('name', 5.0), ('instances', 'x'), ('name', None)])
def test_mapillary__a_label_in_another_form(vistas, key, value):
    labels = json.loads((vistas / 'config.json').read_text())['labels']
    labels[3][key] = value
    (vistas / 'config.json').write_text(json.dumps({'labels': labels}))
    with pytest.raises(UserError, match='does not have the 66 labels'):
        prepare_mapillary(vistas, vistas, 'val', processes=1)


def test_mapillary__other_releases(vistas, call_tool, capsys):
    def error(split='val'):
        assert call_tool('dataset_converters/mapillary.py', '--root', vistas, '--splits', split) == 2
        return capsys.readouterr().err

    assert 'training/images does not exist' in error('train')
    labels = json.loads((vistas / 'config.json').read_text())['labels']
    (vistas / 'config.json').write_text(json.dumps(dict(labels=labels[::-1])))
    assert 'does not have the 66 labels' in error()
    (vistas / 'config.json').unlink()
    assert 'neither config.json nor config_v1.2.json' in error()
    (vistas / 'validation/v1.2/panoptic').mkdir(parents=True)
    assert (
        f'is the 2.0 release, which keeps the annotations of 1.2 apart; link them with: ln -s v1.2/panoptic {vistas}'
        in error()
    )
