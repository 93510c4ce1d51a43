"""Semantic maps alone and instance JSONs alone: their segments, targets and tasks."""

import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from PIL import Image
from pycocotools import mask as mask_api

from mmseg_oneformer.datasets.instances import InstanceDataset
from mmseg_oneformer.datasets.panoptic import PanopticDataset
from mmseg_oneformer.datasets.relabel import label_map, relabelled
from mmseg_oneformer.datasets.semantic import SemanticDataset
from mmseg_oneformer.datasets.transforms.annotation_loading import instance_segments
from mmseg_oneformer.datasets.transforms.targets import SampleTask, TaskTargets
from mmseg_oneformer.tasks import TASKS

LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadPanopticIds')]
TRAIN = [*LOAD, dict(type='SampleTask', probs=dict(semantic=0.2, instance=0.3, panoptic=0.5)), dict(type='TaskTargets')]
CLASSES = ('lawn', 'dog', 'path')
VALUES = np.full((30, 40), 255, np.uint8)
VALUES[:10], VALUES[10:20, :15] = 2, 1


@pytest.fixture
def semantic(tmp_path):
    """Arguments of a data set of two photos; the second lies in a folder of its own."""
    for name in ('img/a.jpg', 'img/sub/b.jpg'):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        cv2.imwrite(str(tmp_path / name), np.full((30, 40, 3), 90, np.uint8))
    for name in ('seg/a.png', 'seg/sub/b.png'):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        cv2.imwrite(str(tmp_path / name), VALUES)
    return dict(data_root=str(tmp_path), metainfo=dict(classes=CLASSES, thing_ids=(1,)), pipeline=LOAD)


def test_semantic__three_equal_channels_and_one_bit_are_read(semantic, tmp_path):
    plain = SemanticDataset(**semantic)[0]['gt_seg_map']
    cv2.imwrite(str(tmp_path / 'seg/a.png'), np.dstack([VALUES] * 3))
    assert (SemanticDataset(**semantic)[0]['gt_seg_map'] == plain).all()
    Image.fromarray(VALUES == 1).save(tmp_path / 'seg/a.png')
    assert (SemanticDataset(**semantic)[0]['gt_seg_map'] == 1 + (VALUES == 1)).all()


def test_semantic__masks_of_0_and_255_are_told(semantic, tmp_path, caplog):
    mask = np.where(np.arange(40) < 30, 0, 255) + np.zeros((30, 1), int)
    for name in ('a.png', 'sub/b.png'):
        cv2.imwrite(str(tmp_path / 'seg' / name), mask.astype(np.uint8))
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        SemanticDataset(**semantic)
        assert 'has a pixel of dog, path, and void (255) covers 25%' in caplog.text
        caplog.clear()
        SemanticDataset(**{**semantic, 'metainfo': dict(classes=('lawn',))})
        cv2.imwrite(str(tmp_path / 'seg/a.png'), VALUES)
        SemanticDataset(**semantic)
        assert 'covers' not in caplog.text
    finally:
        logger.removeHandler(caplog.handler)


@pytest.fixture
def logged(caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def test_semantic__photos_that_are_left_out_are_told_and_hidden_ones_are_none(semantic, tmp_path, logged):
    for name in ('img/._a.jpg', 'img/.trash/c.jpg'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b'not a photo')
    assert len(SemanticDataset(**semantic)) == 2
    assert 'left out' not in logged.text
    (tmp_path / 'img/a.png').write_bytes((tmp_path / 'seg/a.png').read_bytes())  # A mask beside its photo.
    (tmp_path / 'img/c.JPG').write_bytes((tmp_path / 'img/a.jpg').read_bytes())
    assert len(SemanticDataset(**semantic)) == 2
    assert '1 photos do not end in .jpg and are left out, such as c.JPG' in logged.text


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_semantic__a_list_in_any_encoding(semantic, tmp_path, encoding):
    (tmp_path / 'list.txt').write_text('a\nsub/b\n', encoding=encoding)
    assert len(SemanticDataset(**semantic, ann_file='list.txt')) == 2


SQUARE = [[2.0, 2, 22, 2, 22, 22, 2, 22]]
SMALL = [[10.0, 10, 14, 10, 14, 14, 10, 14]]
BAND = [[0.0, 8, 40, 8, 40, 16, 0, 16]]


@pytest.fixture
def objects(tmp_path):
    """Arguments of a data set of two photos, one of them without objects, and the JSON's content."""
    for name in ('a', 'b'):
        cv2.imwrite(str(tmp_path / f'{name}.jpg'), np.full((30, 40, 3), 90, np.uint8))
    content = dict(
        images=[dict(id=4, file_name='a.jpg'), dict(id=2, file_name='b.jpg')],
        categories=[dict(id=9, name='dog'), dict(id=3, name='cat')],
        annotations=[
            dict(id=1, image_id=4, category_id=9, segmentation=SMALL, iscrowd=0),
            dict(id=2, image_id=4, category_id=3, segmentation=SQUARE, iscrowd=0),
            dict(id=3, image_id=4, category_id=9, segmentation=code_of(BAND), iscrowd=1),
        ],
    )
    config = dict(ann_file='instances.json', data_root=str(tmp_path), pipeline=LOAD)

    def write():
        (tmp_path / 'instances.json').write_text(json.dumps(content))
        return config

    return content, write


def code_of(polygons, size=(30, 40)):
    """The outline as a list of run lengths."""
    flat = mask_api.decode(mask_api.merge(mask_api.frPyObjects(polygons, *size))).T.reshape(-1)
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    return dict(size=list(size), counts=runs if not flat[0] else [0, *runs])


# ---- semantic maps


def test_semantic__a_segment_a_class_and_void_stays_void(semantic):
    data = SemanticDataset(**semantic)
    assert [data.get_data_info(index)['img_id'] for index in range(len(data))] == ['a', 'sub/b']
    sample = data[0]
    assert sample['segments_info'] == [
        dict(id=2, label=1, isthing=True, iscrowd=False),
        dict(id=3, label=2, isthing=False, iscrowd=False),
    ]
    index_map = TaskTargets()({**sample, 'task': 'semantic'})['gt_index_map']
    labels = TaskTargets()({**sample, 'task': 'semantic'})['gt_labels']
    assert labels.tolist() == [1, 2]
    assert (np.where(index_map < 0, 255, labels[index_map]) == VALUES).all()


def test_semantic__equals_the_semantic_targets_of_the_panoptic_data(toy, tmp_path):
    """The same photo, annotated in both ways: crowds apart, which a semantic map does not know."""
    panoptic = PanopticDataset(**toy.config())[0]
    labels = np.array([255, *(segment['label'] for segment in panoptic['segments_info'])])
    (tmp_path / 'seg').mkdir()
    cv2.imwrite(str(tmp_path / 'seg/1.png'), labels[panoptic['gt_seg_map']].astype(np.uint8))
    (tmp_path / 'list.txt').write_text('1\n')
    data = SemanticDataset(
        dict(classes=('tree', 'cat', 'dog')), 'list.txt', str(tmp_path), dict(img='photos'), pipeline=LOAD
    )
    masks = []
    for sample in (panoptic, data[0]):
        results = TaskTargets()({**sample, 'task': 'semantic'})
        masks.append({label: results['gt_index_map'] == k for k, label in enumerate(results['gt_labels'])})
    assert masks[0].keys() == masks[1].keys() and len(masks[0]) == 2
    assert all((masks[0][label] == masks[1][label]).all() for label in masks[0])


def test_semantic__palette_16_bits_and_values_from_1(semantic, tmp_path):
    picture = Image.fromarray(VALUES, mode='P')
    picture.putpalette(list(range(256)) * 3)
    picture.save(tmp_path / 'seg/a.png')
    cv2.imwrite(str(tmp_path / 'seg/sub/b.png'), VALUES.astype(np.uint16) * 1)
    first, second = (SemanticDataset(**semantic)[index] for index in (0, 1))
    assert (first['gt_seg_map'] == second['gt_seg_map']).all() and first['gt_seg_map'].max() == 2
    cv2.imwrite(str(tmp_path / 'seg/a.png'), np.where(VALUES == 255, 0, VALUES))
    shifted = SemanticDataset(**semantic, reduce_zero_label=True)[0]
    assert [segment['label'] for segment in shifted['segments_info']] == [0, 1]
    assert ((shifted['gt_seg_map'] == 0) == (VALUES == 255)).all()
    kept = SemanticDataset(**semantic, ignore_index=2)[0]
    assert [segment['label'] for segment in kept['segments_info']] == [0, 1]


def test_semantic__crowded_with_transforms_and_at_test_time(semantic, train_pipeline):
    probs = dict(task_probs=dict(semantic=1.0))
    sample = SemanticDataset(**{**semantic, 'pipeline': train_pipeline}, **probs)[3, 1]['data_samples']
    assert sample.task == 'semantic' and sample.gt_targets.index_map.shape == (1, 32, 32)
    test = [LOAD[0], dict(type='ShortestEdge', size=15, max_size=99), LOAD[1], dict(type='PackOneFormerInputs')]
    truth = SemanticDataset(**{**semantic, 'pipeline': test}, test_mode=True)[0]['data_samples'].gt_sem_seg.sem_seg
    assert torch.equal(truth[0], torch.from_numpy(VALUES).long())


def no_map(folder):
    (folder / 'seg/sub/b.png').unlink()


def no_photo(folder):
    (folder / 'img/a.jpg').unlink()
    (folder / 'img/sub/b.jpg').unlink()


def no_folder(folder):
    (folder / 'seg').rename(folder / 'masks')


def coloured(folder):
    cv2.imwrite(str(folder / 'seg/a.png'), np.full((30, 40, 3), (0, 1, 2), np.uint8))


def cut(folder):
    path = folder / 'seg/a.png'
    path.write_bytes(path.read_bytes()[:50])


def too_high(folder):
    cv2.imwrite(str(folder / 'seg/a.png'), np.full((30, 40), 3, np.uint8))


def turned(folder):
    cv2.imwrite(str(folder / 'seg/a.png'), VALUES.T)


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (no_map, r'1 of 2 photos have no semantic map, such as .*sub/b\.png'),
        (no_photo, r'has no photos that end in \.jpg'),
        (no_folder, r'seg does not exist; set data_root and data_prefix\.seg'),
        (coloured, r'a\.png has colours'),
        (cut, r'a\.png cannot be decoded'),
        (too_high, r'a\.png has pixels of value 3, but values go from 0 to 2'),
        (turned, r'30x40 but its photo .* 40x30.*EXIF'),
    ],
)
def test_semantic__faults(semantic, tmp_path, spoil, message):
    spoil(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        SemanticDataset(**semantic)[0]
    assert '\n' not in str(caught.value)


def test_semantic__needs_classes_and_the_list_it_names(semantic):
    with pytest.raises(ValueError, match='SemanticDataset needs metainfo'):
        SemanticDataset(**{**semantic, 'metainfo': None})
    with pytest.raises(FileNotFoundError, match=r'List .*none\.txt does not exist'):
        SemanticDataset(**semantic, ann_file='none.txt')


# ---- instances


def test_instances__crowds_below_and_smaller_ones_on_top(objects):
    _, write = objects
    data = InstanceDataset(**write())
    assert data.metainfo['classes'] == ('cat', 'dog') and data.metainfo['thing_ids'] == (0, 1)
    sample = data[0]
    expected = np.zeros((30, 40), int)
    expected[8:16], expected[2:22, 2:22], expected[10:14, 10:14] = 3, 2, 1
    assert (sample['gt_seg_map'] == expected).all() and sample['gt_seg_map'].dtype == np.uint8
    assert [(s['label'], s['isthing'], s['iscrowd']) for s in sample['segments_info']] == [
        (1, True, False),
        (0, True, False),
        (1, True, True),
    ]
    results = TaskTargets()({**sample, 'task': 'instance'})
    assert results['gt_labels'].tolist() == [1, 0]
    assert ((results['gt_index_map'] == -1) == np.isin(expected, (0, 3))).all()


def test_instances__equal_areas_and_hidden_ones():
    entries = [dict(id=k, label=0, iscrowd=False, segmentation=SMALL) for k in (1, 2)]
    segment_map, table = instance_segments(entries, (30, 40), 'x.json')
    assert set(np.unique(segment_map)) == {0, 2} and len(table) == 2
    results = TaskTargets()(dict(gt_seg_map=segment_map, segments_info=table, task='instance'))
    assert results['gt_labels'].tolist() == [0]


def test_instances__names_as_label_studio_writes_them(objects):
    content, write = objects
    expected = [InstanceDataset(**write())[index]['img_path'] for index in range(2)]
    for image in content['images']:
        image['file_name'] = f'ab12cd34-{image["file_name"]}'
    data = InstanceDataset(**write())
    assert [data[index]['img_path'] for index in range(2)] == expected


def test_instances__a_photo_without_objects(objects):
    _, write = objects
    data = InstanceDataset(**write())
    assert data[1]['gt_seg_map'].shape == (30, 40) and not data[1]['gt_seg_map'].any()
    assert TaskTargets()({**data[1], 'task': 'instance'})['gt_labels'].shape == (0,)
    assert [len(InstanceDataset(**write(), filter_empty=True)), len(data)] == [1, 2]
    assert len(InstanceDataset(**write(), filter_empty=True, test_mode=True)) == 2


def unknown_category(content):
    content['annotations'][0]['category_id'] = 5


def unknown_image(content):
    content['annotations'][0]['image_id'] = 5


def box_alone(content):
    del content['annotations'][0]['segmentation']


def panoptic_json(content):
    content['annotations'] = [dict(image_id=4, file_name='a.png', segments_info=[])]


def flat(content):
    content['annotations'][0]['segmentation'] = SMALL[0]


def other_size(content):
    content['annotations'][2]['segmentation']['size'] = [40, 30]


def nothing(content):
    content['annotations'] = []


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (unknown_category, 'annotation 1 has category 5'),
        (unknown_image, 'annotation 1 is of image 5'),
        (box_alone, 'annotation 1 has no segmentation'),
        (panoptic_json, 'is a panoptic JSON: use PanopticDataset'),
        (flat, 'annotation 1 has one flat list of numbers'),
        (other_size, r'annotation 3 has a mask of 30x40, but its photo'),
        (nothing, 'has no annotations'),
    ],
)
def test_instances__faults(objects, spoil, message):
    content, write = objects
    spoil(content)
    with pytest.raises(ValueError, match=message) as caught:
        InstanceDataset(**write())[0]
    assert 'instances.json' in str(caught.value) and '\n' not in str(caught.value)


def test_instances__classes_of_crowds_are_told(objects, logged):
    content, write = objects
    InstanceDataset(**write())
    assert 'crowds' not in logged.text
    for entry in content['annotations']:
        entry['iscrowd'] = 1
    InstanceDataset(**write(), test_mode=True)
    assert 'crowds' not in logged.text
    InstanceDataset(**write())
    assert 'are crowds ("iscrowd": 1), which no training learns' in logged.text


def test_instances__classes_of_the_config(objects):
    _, write = objects
    assert InstanceDataset(**write(), metainfo=dict(classes=('cat', 'dog'))).metainfo['thing_ids'] == (0, 1)
    with pytest.raises(ValueError, match="'cat' where the config has 'dog'"):
        InstanceDataset(**write(), metainfo=dict(classes=('dog', 'cat')))


# ---- tasks


@pytest.mark.parametrize(
    ('tasks', 'own', 'renormalise', 'expected'),
    [
        (TASKS, None, False, dict(semantic=0.2, instance=0.3, panoptic=0.5)),
        (('instance',), None, True, dict(instance=1.0)),
        (('semantic', 'instance'), None, True, dict(semantic=0.4, instance=0.6)),
        (TASKS, dict(panoptic=0.9, semantic=0.1), False, dict(semantic=0.1, panoptic=0.9)),
        (('semantic',), dict(semantic=1.0), False, dict(semantic=1.0)),
    ],
)
def test_task_probabilities__and_the_shares_drawn(tasks, own, renormalise, expected):
    transform = SampleTask(dict(semantic=0.2, instance=0.3, panoptic=0.5), renormalise)
    assert transform.probs_for(tasks, own, 'x') == pytest.approx(expected)
    np.random.seed(0)
    results = dict(tasks=tasks) | ({} if own is None else dict(task_probs=own))
    drawn = [transform({**results})['task'] for _ in range(2000)]
    assert {task: drawn.count(task) / 2000 for task in expected} == pytest.approx(expected, abs=0.03)
    assert set(drawn) == set(expected)


def test_task_probabilities__all_tasks_draw_as_before():
    """An annotation that supports every task leaves the stream of random numbers and its thresholds alone."""
    transform = SampleTask(dict(semantic=0.33, instance=0.33, panoptic=0.34), renormalise=True)
    assert transform.probs_for(TASKS, None, 'x') is transform.probs


@pytest.mark.parametrize(
    ('probs', 'message'),
    [
        (None, r'seg is annotated for semantic alone and may be drawn for instance'),
        (dict(panoptic=0.5, semantic=0.5), r'may be drawn for panoptic'),
        (dict(semantic=0.5), r'task_probs of .*seg: probabilities must sum to 1'),
        (dict(depth=1.0), 'unknown task'),
    ],
)
def test_tasks__drawn_for_what_is_unsupported(semantic, probs, message):
    """Before a single photo is read."""
    with pytest.raises(ValueError, match=message):
        SemanticDataset(**{**semantic, 'pipeline': TRAIN, 'data_root': semantic['data_root']}, task_probs=probs)


def test_tasks__none_is_left(objects):
    _, write = objects
    alone = [*LOAD, dict(type='SampleTask', probs=dict(semantic=1.0), renormalise=True)]
    with pytest.raises(ValueError, match='annotated for instance alone and may be drawn for semantic'):
        InstanceDataset(**{**write(), 'pipeline': alone})


# ---- other classes


def test_label_map__by_name():
    assert label_map(('a', 'b', 'c'), (0,), ('c', 'x', 'a'), (2,), {'b': 'x'}, 's') == (2, 1, 0)
    assert label_map(('a', 'b'), None, ('b',), (0,), {'a': None}, 's') == (-1, 0)
    with pytest.raises(ValueError, match="s has class 'b', which is not in"):
        label_map(('a', 'b'), (), ('a',), (), {}, 's')
    with pytest.raises(ValueError, match="class 'a' is a thing in s and stuff in the mix"):
        label_map(('a',), (0,), ('a',), (), {}, 's')
    with pytest.raises(ValueError, match="class 'a' is stuff in s and a thing in the mix"):
        label_map(('a',), (), ('a',), (0,), {}, 's')


def test_relabelled__left_out_is_void_and_joined_stuff_is_one_segment():
    labels = [(0, False), (1, False), (2, True), (2, True), (1, True), (3, False)]
    table = [
        dict(id=k, label=label, isthing=label == 2, iscrowd=crowd and label == 1)
        for k, (label, crowd) in enumerate(labels, 10)
    ]
    segment_map = np.arange(7, dtype=np.int32)[None]
    # Stuff 0 and 1 become stuff 5, the things 2 stay two, 3 is left out; a crowd of stuff joins nothing.
    new_map, new_table = relabelled(segment_map, table, (5, 5, 0, -1), (0,))
    assert new_map.tolist() == [[0, 1, 1, 2, 3, 4, 0]]
    assert [(s['id'], s['label'], s['isthing'], s['iscrowd']) for s in new_table] == [
        (10, 5, False, False),
        (12, 0, True, False),
        (13, 0, True, False),
        (14, 5, False, True),
    ]
