import json
import shutil

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmseg_oneformer.datasets.doctor import RULES, examine, open_source, report_dict, tally, workers
from mmseg_oneformer.datasets.doctor.maps import segment_stats
from mmseg_oneformer.datasets.transforms.targets import task_targets
from mmseg_oneformer.errors import UserError
from mmseg_oneformer.tasks import TASKS

TREE, CAT, DOG = 2, 5, 9
COUNTS = {'class-mismatch': 2, 'instance-merged': 2}
COMPANIONS = {'image-empty': {'void-share'}, 'exif-turned': {'photo-exif'}}
"""What cannot be planted without the other."""
OF_THE_WHOLE = {
    *('category-incomplete', 'category-id-twice', 'category-name-twice', 'class-mismatch', 'kind-mismatch'),
    *('val-categories', 'class-absent'),
}


@pytest.mark.parametrize('deep', [False, True])
def test_clean_data__nothing_found(data, deep):
    assert data.found(deep=deep) == {}
    assert data.found(deep=deep, cfg=data.config(), jobs=2) == {}


def test_rules__each_has_a_planted_fault(planted):
    assert set(planted) == set(RULES)


@pytest.mark.parametrize('rule', RULES)
def test_rules__planted_fault_is_found_and_nothing_else(data, planted, rule):
    found = data.examine(**planted[rule](data) or {}).tally.rules
    assert set(found) == {rule, *COMPANIONS.get(rule, ())}
    assert found[rule].count == len(found[rule].findings) == COUNTS.get(rule, 1)
    assert found[rule].images == (rule not in OF_THE_WHOLE)
    finding = found[rule].findings[0]
    assert finding.rule == rule and finding.text and (finding.file != '') == (rule not in OF_THE_WHOLE)


@pytest.mark.parametrize(
    ('entry', 'field', 'value', 'faulty'),
    [
        ('area', None, 401, False),  # One pixel.
        ('area', None, 404, False),  # One per cent of 400.
        ('area', None, 405, True),
        ('area', None, 395.5, True),
        ('bbox', 0, 1, False),
        ('bbox', 0, 2, True),
        ('bbox', 3, 19, False),
        ('bbox', 3, 18, True),
        ('bbox', 1, 18, True),
    ],
)
def test_drift__tolerances(data, entry, field, value, faulty):
    segment = data.segment(1, CAT)
    if field is None:
        segment[entry] = value
    else:
        segment[entry][field] = value
    assert data.found() == ({f'{dict(area="area", bbox="box")[entry]}-drift': 1} if faulty else {})


def test_drift__numbers_may_be_left_out(data):
    for annotation in data.content['annotations']:
        for segment in annotation['segments_info']:
            del segment['area'], segment['bbox'], segment['iscrowd']
    for image in data.content['images']:
        del image['height'], image['width']
    assert data.found() == {}


def test_thresholds__half_void_and_sixteen_pixels(data):
    ids = np.zeros((40, 60), np.int64)
    ids[:19], ids[19, :44], ids[19, 44:] = 900_001, 7, 70_000
    data.write_map(1, ids)
    for category, area, box in ((TREE, 1140, [0, 0, 60, 19]), (CAT, 44, [0, 19, 44, 1]), (DOG, 16, [44, 19, 16, 1])):
        data.segment(1, category).update(area=area, bbox=box)
    assert data.found() == {}
    ids[19, 44] = 0
    data.write_map(1, ids)
    assert set(data.found()) == {'void-share', 'segment-tiny'}


def test_segment_stats__as_a_loop_over_ids():
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (1, 9), (9, 1), (13, 17)):
        for highest in (1, 3, 2**24 - 1):
            ids = rng.integers(0, highest + 1, shape).astype(np.int32)
            stats = segment_stats(ids)
            assert stats.ids.tolist() == sorted(set(ids.reshape(-1).tolist()))
            for number, area, box in zip(stats.ids, stats.areas, stats.boxes):
                rows, columns = np.nonzero(ids == number)
                assert area == len(rows)
                assert box.tolist() == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]


def test_histogram__counts_the_targets_of_training(data, planted):
    planted['stuff-twice'](data)
    planted['id-not-in-map'](data)
    data.segment(2, CAT)['iscrowd'] = 1
    labels = {TREE: 0, CAT: 1, DOG: 2}
    expected = {task: [0, 0, 0] for task in TASKS}
    for annotation in data.content['annotations']:
        ids = data.ids[annotation['image_id']]
        table = [
            dict(
                label=labels[s['category_id']],
                isthing=s['category_id'] != TREE,
                iscrowd=s.get('iscrowd', 0),
                id=s['id'],
            )
            for s in annotation['segments_info']
        ]
        index_map = np.zeros(ids.shape, np.int64)
        for place, segment in enumerate(table, start=1):
            index_map[ids == segment['id']] = place
        for task in TASKS:
            for label in task_targets(index_map, table, task)[1]:
                expected[task][label] += 1
    rows = report_dict(data.examine())['classes']
    assert [row['name'] for row in rows] == ['tree', 'cat', 'dog']
    for task in TASKS:
        assert [row[task] for row in rows] == expected[task]
    assert [row['crowds'] for row in rows] == [0, 1, 0]
    assert sum(row['pixels'] for row in rows) == sum(ids.size for ids in data.ids.values())


def test_classes__crowds_alone_are_no_targets(data):
    for number in (1, 2):
        data.segment(number, CAT)['iscrowd'] = 1
    found = data.examine().tally.rules
    assert found['class-absent'].findings[0].text == 'class 1 (cat): 2 crowd segments only'


# ---- maps


@pytest.mark.parametrize(
    ('spoil', 'rule', 'words'),
    [
        (lambda bgr: cv2.imencode('.jpg', bgr), 'map-form', 'not a PNG'),
        (lambda bgr: cv2.imencode('.png', bgr.astype(np.uint16)), 'map-form', 'three channels of 16 bits'),
        (lambda bgr: cv2.imencode('.png', bgr[..., 0].astype(np.uint16)), 'map-form', 'one channel of 16 bits'),
        (lambda bgr: (True, np.zeros(0, np.uint8)), 'map-damaged', 'empty'),
    ],
)
def test_maps__other_forms(data, spoil, rule, words):
    data.map(1).write_bytes(spoil(cv2.imread(str(data.map(1))))[1].tobytes())
    found = data.examine().tally.rules
    assert words in found[rule].findings[0].text


def test_maps__palette_is_read_as_colours(data):
    Image.open(data.map(1)).convert('P', palette=Image.Palette.ADAPTIVE, colors=3).save(data.map(1))
    found = data.examine().tally.rules
    assert list(found) == ['map-channels'] and 'a palette' in found['map-channels'].findings[0].text


def test_maps__smoothly_scaled(data):
    bgr = cv2.imread(str(data.map(1)))
    small = cv2.resize(bgr, (30, 20), interpolation=cv2.INTER_NEAREST)
    cv2.imwrite(str(data.map(1)), cv2.resize(small, (60, 40), interpolation=cv2.INTER_LINEAR))
    finding = data.examine().tally.rules['id-not-in-json'].findings[0]
    assert 'more such ids' in finding.text


# ---- photos


def test_photos__damage_inside_is_found_by_decoding(data):
    content = bytearray(cv2.imencode('.png', cv2.imread(str(data.photo(1))))[1].tobytes())
    content[len(content) // 2] ^= 255
    data.photo(1).write_bytes(content)
    assert data.found() == {}
    assert data.found(deep=True) == {'photo-damaged': 1}


def test_photos__bytes_behind_the_end_are_no_damage(data):
    data.photo(1).write_bytes(data.photo(1).read_bytes() + bytes(5000))
    data.photo(2).write_bytes(data.photo(2).read_bytes() + b'camera')
    assert data.found() == {}


@pytest.mark.parametrize('content', [b'', b'<html>404</html>', b'\xff\xd8\xff'])
def test_photos__no_image(data, content):
    data.photo(1).write_bytes(content)
    assert data.found() == {'photo-damaged': 1}


def test_photos__same_pixels_in_another_file(data, tmp_path):
    path = data.write_val(lambda content: content['images'].pop())
    image = Image.open(data.photo(1))
    image.save(data.photo(1).with_suffix('.png'))
    shutil.move(data.photo(1).with_suffix('.png'), tmp_path / 'val/1.jpg')
    assert data.found(val=path) == {}
    assert data.found(val=path, deep=True) == {'leak': 1}


def test_photos__only_files_of_equal_length_and_end_are_read(data, monkeypatch):
    from mmseg_oneformer.datasets.doctor import photos

    read = []
    monkeypatch.setattr(photos, 'file_digest', lambda path: read.append(path) or path)
    data.found(val=data.write_val(lambda content: content['images'].pop()))
    assert sorted(path.rpartition('/')[2] for path in read) == ['1.jpg', '1.jpg']


def test_photos__file_listed_twice(data):
    data.add(3, (40, 60))
    data.content['images'][-1]['file_name'] = '1.jpg'
    assert data.found() == {'photo-twice': 1}


# ---- what a config says


def test_config__of_another_json_gives_its_classes(data, planted):
    cfg = planted['class-mismatch'](data)['cfg']
    cfg.train_dataloader.dataset.datasets[0].ann_file = 'annotations/other.json'
    assert data.found(cfg=cfg) == {'class-mismatch': 2}


def test_config__number_of_classes_of_the_model(data):
    cfg = data.config(cfg=dict(model=dict(head=dict(num_classes=4), thing_ids=[1, 2])))
    found = data.examine(cfg=cfg).tally.rules
    assert [finding.text for finding in found['class-mismatch'].findings] == [
        'it has 3 categories, the model 4 classes'
    ]


def test_config__things_of_the_model_where_the_data_say_nothing(data):
    cfg = data.config(metainfo={}, cfg=dict(model=dict(thing_ids=[1])))
    assert data.found(cfg=cfg) == {'kind-mismatch': 1}


def test_config__without_panoptic_data(data):
    with pytest.raises(ValueError, match='no panoptic data set'):
        data.examine(cfg=Config(dict(train_dataloader=dict(dataset=dict(type='mmdet.CocoDataset', ann_file='x')))))


@pytest.mark.parametrize('benchmark', ['cityscapes', 'mapillary'])
def test_config__names_of_a_benchmark(data, benchmark):
    """Paths and categories are the data set class's matter: photos by city, or a category for void."""
    if benchmark == 'cityscapes':
        (data.folder / 'train/aachen').mkdir()
        shutil.move(data.photo(1), data.folder / 'train/aachen/aachen_1_leftImg8bit.png')
        shutil.move(data.photo(2), data.folder / 'train/aachen/aachen_2_leftImg8bit.png')
        for image in data.content['images']:
            image['file_name'] = f'aachen_{image["id"]}_gtFine_leftImg8bit.png'
        cfg = data.config(type='CityscapesPanoptic')
    else:
        data.content['categories'].append(dict(id=12, name='Unlabeled', isthing=0))
        cfg = data.config(type='MapillaryPanoptic')
    assert data.found(cfg=cfg) == {}


# ---- folders


@pytest.mark.parametrize('layout', ['train', 'images/train', 'annotations/train', 'train/images', 'images', 'other'])
def test_folders__found_beside_the_json(data, layout):
    photos = data.folder / 'photos'
    shutil.move(data.folder / 'train', photos)
    (data.folder / layout).parent.mkdir(parents=True, exist_ok=True)
    shutil.move(photos, data.folder / layout)
    if layout == 'other':
        with pytest.raises(ValueError, match=r'photos of .* are not beside it \(looked for 1\.jpg\); give --images'):
            data.found()
        source = open_source(data.write(), images=str(data.folder / 'other'))
        assert examine(source).tally.rules == {}
    else:
        assert data.found() == {}


def test_folders__a_few_missing_photos_do_not_hide_them(data):
    data.photo(1).unlink()
    assert data.found() == {'photo-missing': 1}


def test_folders__no_such_folder(data):
    with pytest.raises(FileNotFoundError, match=r'nowhere does not exist.*--segs'):
        open_source(data.write(), segs='nowhere')
    shutil.rmtree(data.folder / 'annotations/panoptic_train')
    with pytest.raises(ValueError, match=r'PNGs of .* are not beside it \(looked for 1\.png\); give --segs'):
        data.found()


# ---- numbers


def test_jobs__several_processes_find_the_same(data, planted, monkeypatch):
    for rule in ('crowd', 'photo-grey', 'area-drift'):
        planted[rule](data)
    for number in range(3, 9):
        data.add(number, (30, 30))
    one = report_dict(data.examine())
    monkeypatch.setattr(workers, 'FORKING_PAYS', 0)
    monkeypatch.setattr(workers, 'CHUNK', 2)
    several = report_dict(data.examine(jobs=2))
    assert several['processes'] == 2 and len(several['rules']) == 3
    for report in (one, several):
        del report['seconds'], report['cpu_seconds'], report['processes']
    assert one == several


def test_counts__huge_ones_are_summarised(data, monkeypatch):
    monkeypatch.setattr(tally, 'KEPT', 3)
    for number in range(3, 45):
        data.add(number, (30, 30))
    for image in data.content['images']:
        data.segment(image['id'], DOG)['iscrowd'] = 1
    rule = {entry['rule']: entry for entry in report_dict(data.examine())['rules']}['crowd']
    assert (rule['count'], rule['images'], rule['share'], len(rule['findings'])) == (44, 44, 1.0, 3)


def test_malformed_entries__are_findings_and_no_crash(data):
    data.content['images'] += [5, dict(id=8), dict(id=[1], file_name='x.jpg')]
    data.content['annotations'] += [None, dict(image_id=1), dict(image_id=2, file_name='2.png', segments_info=None)]
    data.content['categories'].append('dog')
    data.annotation(1)['segments_info'] += [
        *(7, dict(id='many', category_id=CAT), dict(id=9, category_id=[1])),
        dict(id=8, category_id=CAT, area='big', bbox='here'),
    ]
    found = data.found()
    drifts = {'area-drift': 1, 'box-drift': 1}
    assert found == {'entry-incomplete': 9, 'category-incomplete': 1, 'id-not-in-map': 1, **drifts}
    assert json.dumps(report_dict(data.examine()))


def test_open_source__a_json_without_images_is_one_sentence(data):
    data.content['images'] = []
    with pytest.raises(UserError, match=r'panoptic_train\.json lists no images'):
        data.examine()
