"""COCO's JSONs: whatever they contain, the readers return valid entries and name the faults of the others."""

import json

import numpy as np
import pytest
from mmengine.registry import DATASETS
from PIL import Image

from mmseg_oneformer.annotations.coco_instances import outline_faults, read_instances
from mmseg_oneformer.annotations.coco_panoptic import read_panoptic
from mmseg_oneformer.errors import UserError

SQUARE = [4, 4, 24, 4, 24, 24, 4, 24]


@pytest.fixture
def panoptic():
    """The content of a panoptic JSON of one photo with a cat on grass."""
    return {
        'images': [{'id': 1, 'file_name': 'a.jpg', 'height': 48, 'width': 64}],
        'annotations': [
            {
                'image_id': 1,
                'file_name': 'a.png',
                'segments_info': [
                    {'id': 300, 'category_id': 1, 'iscrowd': 0, 'area': 400, 'bbox': [4, 4, 20, 20]},
                    {'id': 7, 'category_id': 2},
                ],
            }
        ],
        'categories': [{'id': 1, 'name': 'cat', 'isthing': 1}, {'id': 2, 'name': 'grass', 'isthing': 0}],
    }


@pytest.fixture
def instances():
    """The content of an instance JSON of one photo with a cat."""
    return {
        'images': [{'id': 1, 'file_name': 'a.jpg', 'height': 48, 'width': 64}],
        'annotations': [{'id': 5, 'image_id': 1, 'category_id': 1, 'iscrowd': 0, 'segmentation': [list(SQUARE)]}],
        'categories': [{'id': 1, 'name': 'cat'}],
    }


@pytest.fixture
def write(tmp_path):
    """Write a content beside a photo and its map; returns the path."""

    def write(content, name='x.json'):
        (tmp_path / 'photos').mkdir(exist_ok=True)
        Image.new('RGB', (64, 48), (90, 160, 60)).save(tmp_path / 'photos/a.jpg')
        ids = np.full((48, 64), 7)
        ids[4:24, 4:24] = 300
        Image.fromarray(np.stack([ids % 256, ids // 256, ids * 0], -1).astype(np.uint8)).save(tmp_path / 'photos/a.png')
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return path

    return write


def change(content, place, value):
    """Set ``content[place[0]][place[1]]...``; ``...`` removes the entry."""
    *folders, last = place
    for key in folders:
        content = content[key]
    if value is ...:
        del content[last]
    else:
        content[last] = value


def load(kind, path):
    settings = {'data_prefix': {'img': str(path.parent / 'photos'), 'seg': str(path.parent / 'photos')}}
    pipeline = [{'type': 'LoadImageFromFile'}, {'type': 'LoadPanopticIds'}]
    return DATASETS.build({'type': kind, 'ann_file': str(path), 'pipeline': pipeline, **settings})


def maps_of(dataset):
    return [dataset[number]['gt_seg_map'].tolist() for number in range(len(dataset))]


# Everything that says the same in another way.
SAME_PANOPTIC = [
    (['annotations', 0, 'segments_info', 0, 'id'], 300.0),
    (['annotations', 0, 'segments_info', 0, 'id'], '300'),
    (['annotations', 0, 'segments_info', 0, 'category_id'], '1'),
    (['annotations', 0, 'segments_info', 0, 'iscrowd'], '0'),
    (['annotations', 0, 'segments_info', 0, 'iscrowd'], False),
    (['annotations', 0, 'segments_info', 0, 'iscrowd'], None),
    (['annotations', 0, 'segments_info', 0, 'area'], ...),
    (['annotations', 0, 'segments_info', 0, 'bbox'], []),
    (['annotations', 0, 'image_id'], '1'),
    (['annotations', 0, 'image_id'], 1.0),
    (['images', 0, 'id'], '1'),
    (['images', 0, 'width'], '64'),
    (['images', 0, 'height'], None),
    (['categories', 0, 'id'], 1.0),
    (['categories', 1, 'isthing'], '0'),
    (['categories', 1, 'isthing'], False),
    (['images', 0, 'file_name'], '.\\a.jpg'),
]


@pytest.mark.parametrize(('place', 'value'), SAME_PANOPTIC)
def test_panoptic__one_thing_in_every_form(panoptic, write, place, value):
    expected = load('PanopticDataset', write(panoptic))
    maps, table = maps_of(expected), expected[0]['segments_info']
    change(panoptic, place, value)
    path = write(panoptic)
    assert read_panoptic(path).faults == []
    found = load('PanopticDataset', path)
    assert maps_of(found) == maps and found[0]['segments_info'] == table
    assert found.metainfo['thing_ids'] == (0,)


WRONG_PANOPTIC = [
    (['images', 0, 'id'], ..., 'image number 1 has no "id"'),
    (['images', 0, 'file_name'], ..., 'image 1 has no "file_name"'),
    (['images', 0, 'file_name'], '../a.jpg', 'leads out of its folder'),
    (['images', 0, 'file_name'], 5, 'image 1 has a "file_name" that is 5'),
    (['images', 0, 'width'], -64, 'image 1 has a "width" that is -64'),
    (['images', 0], None, 'image number 1 is None'),
    (['images'], {}, '"images" is {} instead of a list'),
    (['images'], [], 'lists no images'),
    (['annotations', 0, 'image_id'], ..., 'annotation number 1 has no "image_id"'),
    (['annotations', 0, 'image_id'], None, 'annotation of image None has a "image_id" that is None'),
    (['annotations', 0, 'file_name'], '/tmp/a.png', 'annotation of image 1 .* leads out of its folder'),
    (['annotations', 0, 'segments_info'], None, 'segments_info" that is None instead of a list'),
    (['annotations', 0, 'segments_info', 0], 5, 'segment None of a.png is 5'),
    (['annotations', 0, 'segments_info', 0, 'id'], ..., 'segment None of a.png has no "id"'),
    (['annotations', 0, 'segments_info', 0, 'id'], 0, 'segment 0 of a.png has the id of void'),
    (['annotations', 0, 'segments_info', 0, 'id'], 2**24, 'outside 1 to 16777215'),
    (['annotations', 0, 'segments_info', 0, 'id'], 7, 'segment 7 of a.png appears twice'),
    (['annotations', 0, 'segments_info', 0, 'category_id'], ..., 'segment 300 of a.png has no "category_id"'),
    (['annotations', 0, 'segments_info', 0, 'category_id'], 77, 'segment 300 of a.png has category 77'),
    (['annotations', 0, 'segments_info', 0, 'iscrowd'], 'maybe', 'which is neither 0 nor 1'),
    (['annotations'], 'none', '"annotations" is \'none\' instead of a list'),
    (['annotations'], [], 'has no annotations'),
    (['categories', 0, 'id'], ..., 'category number 1 has no "id"'),
    (['categories', 0, 'id'], 2, r"category 2 appears twice \('cat' and 'grass'\)"),
    (['categories', 0, 'name'], 5, 'category 1 has a "name" that is 5'),
    (['categories', 0, 'isthing'], ..., 'category 1 has no "isthing"'),
    (['categories', 0, 'isthing'], None, 'category 1 has a "isthing" that is None'),
    (['categories'], None, '"categories" is None'),
]


@pytest.mark.parametrize(('place', 'value', 'words'), WRONG_PANOPTIC)
def test_panoptic__a_fault_is_a_sentence_that_names_file_and_entry(panoptic, write, place, value, words):
    change(panoptic, place, value)
    path = write(panoptic)
    with pytest.raises(UserError, match=words) as error:
        load('PanopticDataset', path)
    assert 'x.json' in str(error.value)


def test_panoptic__merged_files_with_the_same_ids(panoptic, write):
    panoptic['images'].append({'id': '1', 'file_name': 'b.jpg'})
    panoptic['annotations'].append(dict(panoptic['annotations'][0], file_name='b.png'))
    rules = [fault.rule for fault in read_panoptic(write(panoptic)).faults]
    assert rules == ['image-id-twice', 'annotation-twice']


def test_panoptic__several_faults_are_counted_and_some_are_listed(panoptic, write):
    panoptic['annotations'][0]['segments_info'] += [{'id': 0, 'category_id': 1}] * 100
    with pytest.raises(UserError, match=r'x\.json has 100 faults') as error:
        load('PanopticDataset', write(panoptic))
    assert str(error.value).count('\n') == 5


@pytest.mark.parametrize('content', [b'', b'{', b'[]', b'5', b'null', b'\xff\xfe', b'[' * 100_000, b'{"images": []}'])
def test_both__what_is_no_such_json(write, content):
    for read in (read_panoptic, read_instances):
        with pytest.raises(UserError, match=r'x\.json'):
            read(write(content))


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16', 'utf-16-le'])
def test_both__byte_order_marks_and_utf_16(panoptic, write, encoding):
    panoptic['categories'][0]['name'] = 'Kätzchen'
    path = write(json.dumps(panoptic, ensure_ascii=False).encode(encoding))
    assert read_panoptic(path).categories[0]['name'] == 'Kätzchen'


WRONG_INSTANCES = [
    (['annotations', 0, 'id'], ..., 'annotation number 1 has no "id"'),
    (['annotations', 0, 'image_id'], ..., 'annotation 5 has no "image_id"'),
    (['annotations', 0, 'image_id'], 9, 'annotation 5 is of image 9, which "images" does not list'),
    (['annotations', 0, 'category_id'], ..., 'annotation 5 has no "category_id"'),
    (['annotations', 0, 'category_id'], 9, 'annotation 5 has category 9'),
    (['annotations', 0, 'segmentation'], ..., 'annotation 5 has no segmentation'),
    (['annotations', 0, 'segmentation'], [], 'annotation 5 has no segmentation'),
    (['annotations', 0, 'segmentation'], 'text', "annotation 5 has the segmentation 'text'"),
    (['annotations', 0, 'segmentation', 0, 3], float('nan'), 'annotation 5 has an outline with a number that is not'),
    (['annotations', 0, 'segmentation', 0, 3], 1e12, 'annotation 5 has an outline that lies far outside'),
    (['annotations', 0, 'segmentation'], {'size': [48, 64], 'counts': [100, 50]}, 'annotation 5 .* 150 pixels'),
    (['annotations', 0, 'segmentation'], {'counts': [3072]}, r'annotation 5 .*\[height, width\]'),
    (['annotations', 0], [], r'annotation number 1 is \[\]'),
    (['images', 0, 'file_name'], ..., 'image 1 has no "file_name"'),
    (['categories', 0, 'name'], ..., 'category 1 has no "name"'),
]


@pytest.mark.parametrize(('place', 'value', 'words'), WRONG_INSTANCES)
def test_instances__a_fault_is_a_sentence_that_names_file_and_entry(instances, write, place, value, words):
    change(instances, place, value)
    with pytest.raises(UserError, match=words) as error:
        load('InstanceDataset', write(instances))
    assert 'x.json' in str(error.value)


def test_instances__ids_of_merged_files(instances, write):
    instances['annotations'].append(dict(instances['annotations'][0], id='5'))
    instances['images'].append({'id': 1.0, 'file_name': 'b.jpg'})
    instances['categories'].append({'id': 1, 'name': 'dog'})
    rules = {fault.rule for fault in read_instances(write(instances)).faults}
    assert rules == {'annotation-id-twice', 'image-id-twice', 'category-id-twice'}


def test_instances__broken_outlines_are_no_faults_of_the_structure(instances, write):
    instances['annotations'].append(dict(instances['annotations'][0], id=6, segmentation=[[1, 2, 3, 4]]))
    file = read_instances(write(instances))
    assert file.faults == [] and [entry['id'] for entry in file.objects[1]] == [5, 6]
    assert [fault.entry for fault in outline_faults(file)] == ['annotation 6']


def test_instances__a_photo_of_another_size_than_the_one_that_was_annotated(instances, write):
    instances['images'][0].update(height=96, width=128)
    with pytest.raises(UserError, match=r'x\.json says .*a\.jpg is 128x96, the photo is 64x48'):
        load('InstanceDataset', write(instances))[0]


def test_instances__crowd_as_text(instances, write):
    instances['annotations'][0]['iscrowd'] = '0'
    assert load('InstanceDataset', write(instances)).get_data_info(0)['outlines'][0]['iscrowd'] is False


def test_both__a_bug_keeps_its_traceback(panoptic, write, monkeypatch):
    from mmseg_oneformer.annotations import coco

    def bug(value):
        raise KeyError('planted')

    monkeypatch.setitem(coco.FIELDS, 'name', bug)
    with pytest.raises(KeyError, match='planted'):
        read_panoptic(write(panoptic))
