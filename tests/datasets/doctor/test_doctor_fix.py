import hashlib
import json
import os

import numpy as np
import pytest
from PIL import Image

from mmseg_oneformer.datasets.doctor import RULES, examine, fix, fixed_paths, open_source
from mmseg_oneformer.datasets.panoptic import PanopticDataset
from mmseg_oneformer.errors import WriteError

TREE, CAT, DOG = 2, 5, 9
FIXABLE = [name for name, rule in RULES.items() if rule.fix]
WITH_MAPS = {'stuff-twice', 'map-form', 'map-channels', 'id-not-in-json'}


def digests(folder):
    """Content of every file in the folder."""
    files = [path for path in folder.rglob('*') if path.is_file()]
    return {path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def fixed_ids(fixes, number):
    red, green, blue = np.moveaxis(np.asarray(Image.open(fixes.maps / f'{number}.png')).astype(int), -1, 0)
    return red + 256 * green + 65536 * blue


def test_rules__fixable_ones():
    assert len(FIXABLE) == 14


@pytest.mark.parametrize('rule', FIXABLE)
def test_fix__fault_is_gone_and_the_data_are_as_they_were(data, planted, rule):
    planted[rule](data)
    data.write()
    before = digests(data.folder)
    fixes = fix(data.examine())
    after = digests(data.folder)
    assert {path: after[path] for path in before} == before
    assert {path.name.partition('.')[0] for path in after.keys() - before.keys()} <= {'panoptic_train', '1', '2'}
    assert (fixes.maps is not None) == (rule in WITH_MAPS)
    assert len(fixes.changes) == (1 if rule != 'stuff-twice' else 3)
    assert fixes.listed.read_text().splitlines() == fixes.changes
    found = examine(open_source(fixes.json)).tally.rules
    assert found == {}
    loaded = PanopticDataset(
        str(fixes.json),
        data_prefix=dict(img=str(data.folder / 'train'), seg=str(fixes.maps or data.map(1).parent)),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadPanopticIds')],
    )
    assert all(loaded[index]['gt_seg_map'].any() for index in range(len(loaded)))


def test_fix__nothing_to_correct(data):
    assert fix(data.examine()) is None
    assert not list(data.folder.rglob('*.fixed*'))


def spoil_photo_name(data):
    data.content['images'][0]['file_name'] = '../1.jpg'


def spoil_image_id(data):
    data.content['images'][0]['id'] = 2


def spoil_table(data):
    data.annotation(1)['segments_info'] = None


@pytest.mark.parametrize('spoil', [spoil_photo_name, spoil_image_id, spoil_table])
def test_fix__what_belongs_to_an_entry_that_cannot_be_read_stays(data, spoil):
    spoil(data)
    data.segment(2, CAT)['area'] = 1
    assert {'annotation-without-image', 'image-without-annotation'}.isdisjoint(data.found())
    fixes = fix(data.examine())
    fixed = json.loads((fixes.json if fixes else data.write()).read_text())
    assert {key: len(fixed[key]) for key in ('images', 'annotations')} == {'images': 2, 'annotations': 2}


def test_fix__stuff_is_merged(data, planted):
    planted['stuff-twice'](data)
    fixes = fix(data.examine())
    expected = np.where(data.ids[1] == 3, 900_001, data.ids[1])
    assert (fixed_ids(fixes, 1) == expected).all()
    table = json.loads(fixes.json.read_text())['annotations'][0]['segments_info']
    tree = dict(id=900_001, category_id=TREE, iscrowd=0, area=1200, bbox=[0, 0, 60, 20])
    assert [entry for entry in table if entry['category_id'] == TREE] == [tree]


def test_fix__stray_pixels_become_void(data, planted):
    planted['id-not-in-json'](data)
    fixes = fix(data.examine())
    known = np.isin(data.ids[1], [900_001, 7, 70_000])
    assert (fixed_ids(fixes, 1) == np.where(known, data.ids[1], 0)).all()
    assert (~known).sum() == 4


def test_fix__ids_of_one_channel(data, planted):
    planted['map-form'](data)
    fixes = fix(data.examine())
    assert (fixed_ids(fixes, 1) == np.asarray(Image.open(data.map(1)))).all()


def test_fix__other_pngs_are_linked(data, planted):
    planted['id-not-in-json'](data)
    fixes = fix(data.examine())
    assert (fixes.maps / '2.png').samefile(data.map(2))
    assert not (fixes.maps / '1.png').samefile(data.map(1))


def test_fix__copies_where_links_are_not_to_be_had(data, planted, monkeypatch):
    def no_link(source, target):
        raise OSError('not on this file system')

    monkeypatch.setattr(os, 'link', no_link)
    planted['id-not-in-json'](data)
    fixes = fix(data.examine())
    assert (fixes.maps / '2.png').read_bytes() == data.map(2).read_bytes()


@pytest.mark.parametrize('rule', ['id-not-in-json', 'map-form'])
def test_fix__the_map_of_another_image_is_left_alone(data, planted, rule):
    """Many unknown ids: nothing tells what they should be, so no segment is taken out either."""
    if rule == 'map-form':
        planted[rule](data)
        data.segment(1, CAT)['id'] = 77
    else:
        data.write_map(1, np.full((40, 60), 1234))
    assert rule in data.found()
    assert fix(data.examine()) is None


def test_fix__an_image_of_another_size_is_left_alone(data, planted):
    planted['map-size'](data)
    planted['area-drift'](data)
    data.segment(2, DOG)['area'] = 3
    fixes = fix(data.examine())
    assert [change.partition(':')[0] for change in fixes.changes] == ['2.png']


def test_fix__different_second_entries_are_left_alone(data, planted):
    planted['annotation-twice'](data)
    data.content['annotations'][-1]['segments_info'].pop()
    data.annotation(2)['segments_info'].append(dict(data.segment(2, CAT), category_id=DOG))
    assert fix(data.examine()) is None


def test_fix__segments_without_a_pixel_stay_where_the_config_allows_them(data, planted):
    more = planted['segment-covered'](data)
    planted['segment-kind'](data)
    fixes = fix(data.examine(**more))
    table = json.loads(fixes.json.read_text())['annotations'][0]['segments_info']
    assert 55 in [entry['id'] for entry in table] and len(fixes.changes) == 1


def test_fix__what_the_data_set_leaves_out_stays_in_the_json(data, planted):
    planted['segment-kind'](data)
    data.content['categories'].append(dict(id=12, name='Unlabeled', isthing=0))
    data.content['info'] = dict(year=2026)
    fixes = fix(data.examine(cfg=data.config(type='MapillaryPanoptic')))
    content = json.loads(fixes.json.read_text())
    assert content['categories'] == data.content['categories'] and content['info'] == dict(year=2026)


def test_fix__entries_that_cannot_be_read_stay(data, planted):
    planted['annotation-without-image'](data)
    planted['area-drift'](data)
    data.content['images'].append(5)
    data.content['annotations'].append(None)
    content = json.loads(fix(data.examine()).json.read_text())
    assert content['images'][-1] == 5 and content['annotations'][-1] is None and len(content['annotations']) == 4


@pytest.mark.parametrize('name', ['panoptic_train.fixed.json', 'panoptic_train.fixed', 'panoptic_train.fixed.txt'])
def test_fix__never_over_anything(data, planted, name):
    planted['stuff-twice'](data)
    there = data.write().with_name(name)
    there.write_text('mine')
    with pytest.raises(WriteError, match=rf'{name} is there already.*move it away'):
        fix(data.examine())
    with pytest.raises(WriteError):
        fixed_paths(data.write())
    assert there.read_text() == 'mine'
    assert [path.name for path in there.parent.glob('*fixed*')] == [name]


def test_fix__interrupted_leaves_nothing(data, planted, monkeypatch):
    from mmseg_oneformer.datasets.doctor import fixing

    def stop(*args):
        raise KeyboardInterrupt

    planted['stuff-twice'](data)
    monkeypatch.setattr(fixing, 'write_atomic', stop)
    with pytest.raises(KeyboardInterrupt):
        fix(data.examine())
    assert not list(data.map(1).parent.parent.glob('*fixed*'))


@pytest.mark.parametrize('form', [float, str, lambda number: f' {number}'])
def test_fix__ids_as_floats_or_text_are_what_the_loader_reads(data, planted, form):
    """An id of 300.0 was once unknown here: its pixels were set to void, while training read it as 300."""
    planted['area-drift'](data)  # something to correct in image 1
    for annotation in data.content['annotations']:
        annotation['image_id'] = form(annotation['image_id'])
        for segment in annotation['segments_info']:
            segment.update(id=form(segment['id']), category_id=form(segment['category_id']), iscrowd=str(0))
    assert data.found() == {'area-drift': 1}
    fixes = fix(data.examine())
    assert fixes.maps is None and len(fixes.changes) == 1
    assert examine(open_source(fixes.json)).tally.rules == {}


@pytest.mark.parametrize('name', ['../{}', '{folder}/{}', '..\\{}', 'a/../../{}'])
@pytest.mark.parametrize('kind', ['images', 'annotations'])
def test_fix__file_names_that_lead_out_of_their_folder(data, planted, tmp_path, kind, name):
    planted['stuff-twice'](data)
    outside = data.folder / 'annotations/mine.png'
    outside.write_text('mine')
    data.content[kind][0]['file_name'] = name.format('mine.png', folder=outside.parent)
    data.add(3, (20, 20))
    planted_too = data.annotation(3)['segments_info'][0]
    planted_too['isthing'] = 1
    examined = data.examine()
    finding = examined.tally.rules['entry-incomplete'].findings[0]
    assert 'leads out of its folder' in finding.text
    before = digests(data.folder)
    fixes = fix(examined)
    after = digests(data.folder)
    assert {path: after[path] for path in before} == before and outside.read_text() == 'mine'
    assert all('.fixed' in str(path) for path in after.keys() - before.keys())
    assert len(fixes.changes) >= 1


@pytest.mark.parametrize('value', ['many', [1], float('nan'), True])
def test_fix__an_area_or_a_box_that_is_no_number_is_counted(data, value):
    data.segment(1, CAT)['area'] = value
    data.segment(2, DOG)['bbox'] = [0, 0, 5, value]
    assert data.found() == {'area-drift': 1, 'box-drift': 1}
    fixes = fix(data.examine())
    assert len(fixes.changes) == 2
    assert examine(open_source(fixes.json)).tally.rules == {}


def test_map__a_header_that_claims_gigabytes_is_not_decoded(data):
    path = data.map(1)
    content = bytearray(path.read_bytes())
    content[16:24] = (30_000).to_bytes(4, 'big') * 2
    path.write_bytes(content)
    assert 'is 30000x30000 by its header' in data.examine().tally.rules['map-size'].findings[0].text


def test_fix__numbers_that_are_text_of_any_kind(data):
    data.segment(1, CAT).update(area='\ud800', bbox=['\ud800', 1])
    fixes = fix(data.examine())
    assert "area of segment 7 is 400, was '\\ud800'" in '\n'.join(fixes.changes)
    assert "was ['\\ud800', 1]" in fixes.listed.read_text()
