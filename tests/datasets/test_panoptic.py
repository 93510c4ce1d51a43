import json
import pickle
import random

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS
from torch.utils.data import DataLoader

from mmseg_oneformer.datasets.coco import CocoPanoptic
from mmseg_oneformer.datasets.panoptic import PanopticDataset
from mmseg_oneformer.datasets.randomness import keyed_randomness
from mmseg_oneformer.datasets.samplers import PassSampler
from mmseg_oneformer.errors import UserError
from mmseg_oneformer.photos.errors import PhotoError


def first(samples):
    return samples[0]


def test_metainfo__taken_from_json(toy):
    meta = PanopticDataset(**toy.config()).metainfo
    assert meta['classes'] == ('tree', 'cat', 'dog')
    assert meta['thing_ids'] == (1, 2)
    assert len(set(meta['palette'])) == 3


def test_metainfo__colors_of_json(toy):
    for number, category in enumerate(toy.content['categories']):
        category['color'] = [number, 10, 20]
    assert PanopticDataset(**toy.config()).metainfo['palette'] == [(1, 10, 20), (2, 10, 20), (0, 10, 20)]


def test_metainfo__colors_of_json_where_there_are_some(toy):
    toy.content['categories'][0]['color'] = [1, 2, 3]
    meta = PanopticDataset(**toy.config(metainfo=dict(classes=['tree', 'cat', 'dog'], thing_ids=[1, 2]))).metainfo
    assert meta['palette'].count((1, 2, 3)) == 1
    assert len(set(meta['palette'])) == 3


def test_metainfo__of_a_config(toy):
    metainfo = dict(classes=['tree', 'cat', 'dog'], thing_ids=[2, 1])
    cfg = Config(dict(data=dict(type='PanopticDataset', **toy.config(metainfo=metainfo))))
    meta = DATASETS.build(cfg.data).metainfo
    assert meta['classes'] == ('tree', 'cat', 'dog') and meta['thing_ids'] == (1, 2)


@pytest.mark.parametrize(
    ('classes', 'thing_ids', 'words'),
    [
        (('tree', 'dog', 'cat'), (1, 2), ["'cat'", "'dog' as class 1"]),
        (('tree ', 'cat', 'dog'), (1, 2), ["'tree '"]),
        (('tree', 'cat'), (1,), ['3 categories', '2']),
        (('tree', 'cat', 'dog', 'cow'), (1, 2), ['3 categories', '4']),
        (('tree', 'cat', 'dog'), (0, 1, 2), ["'tree'", 'no thing']),
        (('tree', 'cat', 'dog'), (1,), ["'dog'", 'a thing']),
        (('tree', 'cat', 'dog'), (1, 2, 3), ['class 3']),
    ],
)
def test_metainfo__differs_from_json(toy, classes, thing_ids, words):
    with pytest.raises(ValueError, match=r'panoptic\.json.*leave metainfo out') as caught:
        PanopticDataset(**toy.config(metainfo=dict(classes=classes, thing_ids=thing_ids)))
    assert all(word in str(caught.value) for word in words)


def test_metainfo__without_thing_ids(toy):
    with pytest.raises(ValueError, match='no thing_ids'):
        PanopticDataset(**toy.config(metainfo=dict(classes=('tree', 'cat', 'dog'))))


def test_order__images_and_annotations_differ(toy):
    data = PanopticDataset(**toy.config())
    assert [data.get_data_info(index)['img_id'] for index in range(3)] == [1, 2, 3]
    sample = data[1]
    assert sample['segments_info'] == [
        dict(id=70_000, label=2, isthing=True, iscrowd=False),
        dict(id=65_536, label=1, isthing=True, iscrowd=True),
    ]
    assert (sample['gt_seg_map'][:25] == 1).all() and (sample['gt_seg_map'][25:] == 2).all()


def test_seg_prefix__beside_the_json(toy):
    (toy.folder / 'maps').rename(toy.folder / 'panoptic')
    config = toy.config()
    del config['data_prefix']['seg']
    assert PanopticDataset(**config)[2]['gt_seg_map'].all()


def test_filter_empty(toy):
    assert len(PanopticDataset(**toy.config())) == 3
    kept = PanopticDataset(**toy.config(filter_empty=True))
    assert [kept.get_data_info(index)['img_id'] for index in range(len(kept))] == [1, 2]
    assert len(PanopticDataset(**toy.config(filter_empty=True, test_mode=True))) == 3


def test_filter_empty__a_crowd_is_no_thing(toy):
    toy.annotation(2)['segments_info'][0]['iscrowd'] = 1
    assert len(PanopticDataset(**toy.config(filter_empty=True))) == 1


def test_filter_empty__counts_the_objects_of_the_instances_json(toy, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr('mmseg_oneformer.datasets.panoptic.say', said.append)

    def kept(**changes):
        data = PanopticDataset(**toy.config(filter_empty=True, instances='instances.json', **changes))
        return [data.get_data_info(index)['img_id'] for index in range(len(data))]

    assert kept() == [1, 2] and said[0].endswith(f'since there is no {tmp_path}/instances.json.')
    images = [{'id': number, 'file_name': f'{number}.jpg'} for number in (1, 2, 3)]
    objects = [{'image_id': 2, 'iscrowd': 1}, {'image_id': 3, 'iscrowd': 0}, {'image_id': 3}]
    objects = [{'id': number, 'category_id': 5, **entry} for number, entry in enumerate(objects)]
    content = {'images': images, 'categories': [{'id': 5, 'name': 'cat'}], 'annotations': objects}
    (tmp_path / 'instances.json').write_text(json.dumps(content))
    assert kept() == [3] and kept(test_mode=True) == [1, 2, 3] and len(said) == 1
    (tmp_path / 'instances.json').write_text(json.dumps(content | {'images': images[1:]}))
    with pytest.raises(UserError, match=r'instances\.json has no image 1 of .*; name the instances of the same photos'):
        kept()
    (tmp_path / 'instances.json').write_text('{}')
    with pytest.raises(UserError, match='is not a COCO instance JSON'):
        kept()


def test_annotations__missing(toy):
    toy.content['annotations'].pop()
    with pytest.raises(ValueError, match=r'image 1 \(1\.jpg\) has no annotation'):
        PanopticDataset(**toy.config())


def test_annotations__none_at_test_time(toy):
    del toy.content['annotations']
    sample = PanopticDataset(**toy.config(test_mode=True))[0]
    assert 'gt_seg_map' not in sample and sample['img'].shape == (40, 60, 3)
    with pytest.raises(ValueError, match='training needs the panoptic JSON'):
        PanopticDataset(**toy.config())


def spoil_category(toy):
    toy.annotation(1)['segments_info'][0]['category_id'] = 77


def spoil_twice(toy):
    toy.annotation(1)['segments_info'][0]['id'] = 7


def spoil_zero(toy):
    toy.annotation(1)['segments_info'][0]['id'] = 0


def spoil_two_annotations(toy):
    toy.content['annotations'].append(toy.annotation(1))


def spoil_instance_json(toy):
    toy.content['annotations'] = [dict(image_id=1, bbox=[0, 0, 1, 1])]


def spoil_categories(toy):
    del toy.content['categories']


def spoil_isthing(toy):
    del toy.content['categories'][0]['isthing']


def spoil_category_ids(toy):
    toy.content['categories'][0]['id'] = 2


def spoil_name(toy):
    toy.content['categories'][0]['name'] = 'cat\r'


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (spoil_name, r"the class name 'cat\\r' has a line break"),
        (spoil_category, r'segment 900000 of 1\.png has category 77'),
        (spoil_twice, r'segment 7 of 1\.png appears twice'),
        (spoil_zero, 'has the id of void'),
        (spoil_two_annotations, 'image 1 has two annotations'),
        (spoil_instance_json, 'not the instance one'),
        (spoil_categories, 'not a COCO panoptic JSON'),
        (spoil_isthing, 'category 9 has no "isthing"; write "id"'),
        (spoil_category_ids, r'category 2 appears twice'),
    ],
)
def test_bad_json(toy, spoil, message):
    spoil(toy)
    with pytest.raises(ValueError, match=message) as caught:
        PanopticDataset(**toy.config())
    assert 'panoptic.json' in str(caught.value) and '\n' not in str(caught.value)


def test_bad_json__missing_or_broken(toy):
    config = toy.config()
    (toy.folder / 'panoptic.json').write_text('{"images": [')
    with pytest.raises(ValueError, match='not valid JSON'):
        PanopticDataset(**config)
    with pytest.raises(FileNotFoundError, match=r'other\.json does not exist'):
        PanopticDataset(**{**config, 'ann_file': 'other.json'})


def missing_photo(toy):
    (toy.folder / 'photos/1.jpg').unlink()


def cut_photo(toy):
    path = toy.folder / 'photos/1.jpg'
    path.write_bytes(path.read_bytes()[:300])


def empty_photo(toy):
    (toy.folder / 'photos/1.jpg').write_bytes(b'')


def text_photo(toy):
    (toy.folder / 'photos/1.jpg').write_text('<html>404</html>')


def missing_map(toy):
    (toy.folder / 'maps/1.png').unlink()


def cut_map(toy):
    path = toy.folder / 'maps/1.png'
    path.write_bytes(path.read_bytes()[:60])


def unknown_id(toy):
    ids = np.full((40, 60), 7)
    ids[:5] = 900_000
    ids[7, 8] = 123_456
    toy.write_map(1, ids)


def absent_id(toy):
    toy.write_map(1, np.full((40, 60), 7))


def other_size(toy):
    toy.write_map(1, np.full((20, 30), 7))


def turned_size(toy):
    toy.write_map(1, np.full((60, 40), 7))


@pytest.mark.parametrize(
    ('spoil', 'name', 'message'),
    [
        (missing_photo, '1.jpg', 'does not exist'),
        (cut_photo, '1.jpg', 'cannot be decoded'),
        (empty_photo, '1.jpg', 'is empty'),
        (text_photo, '1.jpg', 'cannot be decoded'),
        (missing_map, '1.png', 'cannot be read'),
        (cut_map, '1.png', 'cannot be decoded'),
        (unknown_id, '1.png', 'pixels of id 123456'),
        (absent_id, '1.png', 'no pixel of segment 900000'),
        (other_size, '1.png', '30x20 but its photo .* 60x40'),
        (turned_size, '1.png', 'EXIF'),
    ],
)
@pytest.mark.parametrize('test_mode', [False, True])
def test_bad_files__one_sentence_with_the_name(toy, spoil, name, message, test_mode):
    data = PanopticDataset(**toy.config(test_mode=test_mode))
    spoil(toy)
    with pytest.raises(ValueError, match=message) as caught:
        data[0]
    assert name in str(caught.value) and '\n' not in str(caught.value)


def test_bad_files__a_dropped_sample_is_no_other_sample(toy):
    config = toy.config()
    config['pipeline'].append(lambda results: None)
    with pytest.raises(ValueError, match=r'returned nothing for .*1\.jpg'):
        PanopticDataset(**config)[0]


def test_photo__turned_by_exif(toy):
    from PIL import Image

    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 40, 3), dtype=np.uint8))
    exif = image.getexif()
    exif[0x0112] = 6  # Seen turned by 90 degrees: 40 rows, 60 columns, as the map.
    image.save(toy.folder / 'photos/1.jpg', exif=exif)
    sample = PanopticDataset(**toy.config())[0]
    assert sample['img'].shape[:2] == sample['gt_seg_map'].shape == (40, 60)


def test_photo__greyscale(toy):
    cv2.imwrite(str(toy.folder / 'photos/1.jpg'), np.full((40, 60), 100, np.uint8))
    assert PanopticDataset(**toy.config())[0]['img'].shape == (40, 60, 3)


def equal(one, other):
    return (
        torch.equal(one['inputs'], other['inputs'])
        and torch.equal(one['data_samples'].gt_targets.index_map, other['data_samples'].gt_targets.index_map)
        and one['data_samples'].metainfo == other['data_samples'].metainfo
    )


def test_keyed_samples__same_with_any_number_of_workers(toy, train_pipeline):
    runs = []
    for workers in (0, 1, 2):
        data = PanopticDataset(**{**toy.config(), 'pipeline': train_pipeline})
        sampler = PassSampler(data, seed=3)
        np.random.seed(workers)
        random.seed(workers)
        stream = iter(DataLoader(data, batch_size=1, sampler=sampler, num_workers=workers, collate_fn=first))
        runs.append([next(stream) for _ in range(9)])
        del stream
    assert all(equal(a, b) for a, b in zip(runs[0], runs[1]))
    assert all(equal(a, b) for a, b in zip(runs[0], runs[2]))


def test_keyed_samples__differ_by_pass_and_seed(toy, train_pipeline):
    data = PanopticDataset(**{**toy.config(), 'pipeline': train_pipeline}, seed=1)
    again = data[0, 0]
    assert equal(again, data[0, 0])
    assert not equal(again, data[1, 0])
    data.seed = 2
    assert not equal(again, data[0, 0])


def test_keyed_randomness__leaves_no_trace():
    random.seed(5)
    np.random.seed(5)
    expected = random.random(), np.random.rand()
    random.seed(5)
    np.random.seed(5)
    with pytest.raises(RuntimeError), keyed_randomness(1, 2, 3):
        inside = random.random(), np.random.rand()
        raise RuntimeError
    assert (random.random(), np.random.rand()) == expected
    with keyed_randomness(1, 2, 3):
        assert (random.random(), np.random.rand()) == inside
    with keyed_randomness(1, 2, 4):
        assert (random.random(), np.random.rand()) != inside


def test_pickle(toy):
    data = pickle.loads(pickle.dumps(PanopticDataset(**toy.config())))
    assert len(data) == 3 and data[0]['img_id'] == 1


def test_coco_metainfo():
    meta = CocoPanoptic.METAINFO
    assert len(meta['classes']) == len(meta['palette']) == 133
    assert meta['thing_ids'] == tuple(range(80))
    assert meta['classes'][:2] == ('person', 'bicycle')
    assert meta['classes'][79:81] == ('toothbrush', 'banner') and meta['classes'][-1] == 'rug-merged'
    assert 'wall-other-merged' in meta['classes']


@pytest.mark.parametrize('split', ['train2017', 'val2017'])
def test_real_photos(coco_mini, split):
    data = CocoPanoptic(
        f'annotations/panoptic_{split}.json',
        data_root=str(coco_mini),
        data_prefix=dict(img=split, seg=f'annotations/panoptic_{split}'),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadPanopticIds')],
    )
    areas = {
        annotation['image_id']: {segment['id']: segment['area'] for segment in annotation['segments_info']}
        for annotation in json.loads((coco_mini / f'annotations/panoptic_{split}.json').read_text())['annotations']
    }
    for index in range(len(data)):
        sample = data[index]
        assert sample['img'].shape == (*sample['gt_seg_map'].shape, 3)
        pixels = np.bincount(sample['gt_seg_map'].reshape(-1))[1:]
        assert {s['id']: n for s, n in zip(sample['segments_info'], pixels)} == areas[sample['img_id']]


def unreadable(toy, numbers):
    for number in numbers:
        (toy.folder / f'photos/{number}.jpg').write_bytes(b'no photo')


def packed(toy, **settings):
    cfg = toy.config(**settings)
    cfg['pipeline'] = [*cfg['pipeline'], dict(type='PackOneFormerInputs')]
    return PanopticDataset(**cfg)


@pytest.mark.parametrize('key', [(0, 1), (3, 1)])
def test_unreadable__another_photo_takes_its_place(toy, key):
    expected = packed(toy)[2]['data_samples'].img_path
    unreadable(toy, [2])
    sample = packed(toy, max_unreadable=1)[key]['data_samples']
    assert sample.img_path == expected
    (fault,) = sample.skipped_photos
    assert 'photos/2.jpg cannot be decoded' in fault
    assert 'skipped_photos' not in packed(toy, max_unreadable=1)[(0, 0)]['data_samples']


@pytest.mark.parametrize(('numbers', 'limit'), [([2], 0), ([2, 3], 1), ([1, 2, 3], 9)])
def test_unreadable__more_than_the_limit(toy, numbers, limit):
    unreadable(toy, numbers)
    with pytest.raises(PhotoError, match=r'\d.jpg cannot be decoded'):
        packed(toy, max_unreadable=limit)[(0, 1)]


@pytest.mark.parametrize('limit', [-1, '3', True, 1.5])
def test_unreadable__a_limit_that_is_no_number_of_photos(toy, limit):
    with pytest.raises(UserError, match=f'max_unreadable is {limit!r}, not a number of photos'):
        packed(toy, max_unreadable=limit)


def test_unreadable__an_evaluation_never_skips(toy):
    unreadable(toy, [2])
    with pytest.raises(PhotoError):
        packed(toy, max_unreadable=5)[1]
