"""COCO's files, whatever is in them: loader, doctor and converter see the same, and each says it in a sentence."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from mmengine.registry import init_default_scope
from PIL import Image

from mmseg_oneformer.annotations import coco_instances, coco_panoptic, id_maps
from mmseg_oneformer.annotations.coco_instances import read_instances
from mmseg_oneformer.annotations.coco_panoptic import read_panoptic
from mmseg_oneformer.annotations.faults import report
from mmseg_oneformer.annotations.id_maps import read_ids
from mmseg_oneformer.datasets.doctor import counts_by_severity, examine, fix, open_source
from mmseg_oneformer.datasets.instances import InstanceDataset
from mmseg_oneformer.datasets.panoptic import PanopticDataset
from mmseg_oneformer.errors import UserError
from mmseg_oneformer.preparation.formats import CocoFormat
from mmseg_oneformer.preparation.own_data import write_panoptic
from tests.annotations import strategies as files

SIZE = (6, 8)
EXAMPLES = 60
FEW = settings(files.EXAMPLES, max_examples=EXAMPLES)
PIPELINE = [{'type': 'LoadPhoto'}, {'type': 'LoadPanopticIds'}]
PANOPTIC = files.st.one_of(
    files.panoptic_contents().map(json.dumps).map(str.encode), files.json_files(files.panoptic_contents(), most=1)
)


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmdet')


@pytest.fixture
def folder(tmp_path):
    for name in ('in', 'photos', 'maps'):
        (tmp_path / name).mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'photos/a.jpg')
    return tmp_path


def tree(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob('*') if path.is_file()}


def attempt(function, *arguments, **settings):
    """Result of a call, or the UserError that it raised; everything else is a failure."""
    try:
        return function(*arguments, **settings)
    except UserError as error:
        assert str(error).strip() and len(str(error)) < 3000
        return error


def load(kind, path, photos, **prefix):
    """Every sample of a data set."""
    settings = {'pipeline': PIPELINE, 'serialize_data': False}  # Else with a garbage collection for each.
    dataset = kind(ann_file=str(path), data_prefix={'img': str(photos), **prefix}, **settings)
    return [dataset[index] for index in range(len(dataset))]


def diagnose(path, folder):
    return examine(open_source(path, images=str(folder / 'photos'), segs=str(folder / 'maps')), deep=True)


# ---- the readers alone


def check_panoptic(path):
    file = read_panoptic(path)
    assert [category['id'] for category in file.categories] == sorted({entry['id'] for entry in file.categories})
    assert all(category['name'] and isinstance(category['isthing'], bool) for category in file.categories)
    assert len({image['id'] for image in file.images}) == len(file.images)
    for annotation in file.annotations.values():
        ids = [segment['id'] for segment in annotation['segments_info']]
        assert len(set(ids)) == len(ids) and all(type(number) is int and 0 < number < 2**24 for number in ids)
        assert all(isinstance(segment['iscrowd'], bool) for segment in annotation['segments_info'])
    check_records(file)


def check_instances(path):
    file = read_instances(path)
    assert file.objects.keys() == {image['id'] for image in file.images}
    known = {category['id'] for category in file.categories}
    assert all(entry['category_id'] in known for entries in file.objects.values() for entry in entries)
    check_records(file)


def check_records(file):
    for image in file.images:
        assert not image['file_name'].startswith('/') and '..' not in image['file_name'].split('/')
        assert ('height' in image) == ('width' in image)
    if file.faults:
        message = report(file.path, file.faults)
        assert str(file.path) in message and all(entry.what and entry.remedy for entry in file.faults)


def test_read_panoptic(tmp_path):
    files.check_reader(check_panoptic, PANOPTIC, tmp_path / 'a.json')


def test_read_instances(tmp_path):
    files.check_reader(check_instances, files.json_files(files.instance_contents()), tmp_path / 'a.json')


def test_read_ids(tmp_path):
    files.check_reader(read_ids, files.id_pngs(), tmp_path / 'a.png')


@pytest.mark.parametrize('check', [check_panoptic, check_instances])
def test_readers__any_json(tmp_path, check):
    keys = ('images', 'annotations', 'categories')
    contents = files.st.fixed_dictionaries({key: files.st.lists(files.VALUES, max_size=3) for key in keys})
    files.check_reader(check, contents.map(json.dumps).map(str.encode), tmp_path / 'a.json')


# ---- loader and doctor


def test_loader_and_doctor__the_same_verdict_and_the_same_pixels(folder):
    path, outcomes = folder / 'in/a.json', []

    @FEW
    @given(PANOPTIC, files.id_pngs())
    def check(text, png):
        path.write_bytes(text)
        (folder / 'maps/a.png').write_bytes(png)
        samples = attempt(load, PanopticDataset, path, folder / 'photos', seg=str(folder / 'maps'))
        found = attempt(diagnose, path, folder)
        errors = str(found) if isinstance(found, UserError) else counts_by_severity(found)['error']
        outcomes.append(not isinstance(samples, UserError))
        assert outcomes[-1] == (errors == 0), (samples, errors)
        if not outcomes[-1]:
            return
        for sample in samples:
            ids = np.array([0, *(segment['id'] for segment in sample['segments_info'])])
            assert (ids[sample['gt_seg_map']] == read_ids(folder / 'maps/a.png')).all()
        areas = {label: row[-1] for label, row in enumerate(found.tally.histogram) if row[-1]}
        for label, area in areas.items():
            numbers = [k for k, entry in enumerate(samples[0]['segments_info'], start=1) if entry['label'] == label]
            assert area == np.isin(samples[0]['gt_seg_map'], numbers).sum()

    check()
    assert tree(folder) == {'in/a.json', 'photos/a.jpg', 'maps/a.png'}
    assert np.mean(outcomes) >= files.ACCEPTED, f'{np.mean(outcomes):.0%} accepted'


def test_fix__no_pixel_that_the_loader_knows_becomes_void(folder):
    path, outcomes = folder / 'in/a.json', []

    @settings(FEW, max_examples=5 * EXAMPLES)  # Few of them have something to correct.
    @given(files.mutated(files.panoptic_contents(), 1).map(json.dumps).map(str.encode), files.id_pngs())
    def check(text, png):
        path.write_bytes(text)
        (folder / 'maps/a.png').write_bytes(png)
        for old in (folder / 'in').glob('a.fixed*'):
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        found = attempt(diagnose, path, folder)
        if isinstance(found, UserError):
            return
        fixes = attempt(fix, found)
        assert tree(folder) <= {'in/a.json', 'photos/a.jpg', 'maps/a.png'} | {
            name for name in tree(folder) if name.startswith('in/a.fixed')
        }
        assert path.read_bytes() == text and (folder / 'maps/a.png').read_bytes() == png
        if fixes is None or isinstance(fixes, UserError):
            return
        outcomes.append(True)
        again = read_panoptic(fixes.json)
        old = found.source.file
        for number, annotation in again.annotations.items():
            name = old.annotations[number]['file_name']
            maps = fixes.maps or folder / 'maps'
            if name != 'a.png' or not (maps / name).is_file() or isinstance(attempt(read_ids, maps / name), UserError):
                continue
            known = np.isin(
                read_ids(folder / 'maps/a.png'), [s['id'] for s in old.annotations[number]['segments_info']]
            )
            now = read_ids(maps / name)
            assert (now[known] > 0).all()
            assert set(np.unique(now[known]).tolist()) <= {segment['id'] for segment in annotation['segments_info']}

    check()
    assert len(outcomes) > EXAMPLES / 20, 'hardly anything was corrected'


# ---- loader and converter


def test_loader_and_converter__the_same_pixels(folder):
    path, outcomes = folder / 'in/a.json', []

    def convert():
        source = CocoFormat(path, folder / 'photos', None)
        return write_panoptic(source, folder / 'photos', folder / 'out', 'train', processes=1, strict=True)

    @settings(FEW, max_examples=25)  # Each file that is written is synchronised with the disk.
    @given(files.json_files(files.instance_contents(), most=1))
    def check(text):
        path.write_bytes(text)
        shutil.rmtree(folder / 'out', ignore_errors=True)
        samples = attempt(load, InstanceDataset, path, folder / 'photos')
        written = attempt(convert)
        outcomes.append(not isinstance(samples, UserError))
        if isinstance(written, UserError):
            return
        # What a strict conversion takes is trained on, unless it has no object.
        assert outcomes[-1] or 'has no annotations' in str(samples), samples
        if outcomes[-1]:
            (ours,) = samples
            (theirs,) = load(PanopticDataset, written.path, folder / 'photos')
            assert (numbered(ours) == numbered(theirs)).all()

    check()
    assert tree(folder) <= {'in/a.json', 'photos/a.jpg'} | {f'out/{name}' for name in tree(folder / 'out')}
    assert np.mean(outcomes) >= files.ACCEPTED, f'{np.mean(outcomes):.0%} accepted'


def numbered(sample):
    """Class, crowd mark and number of the first pixel of the segment, at each pixel: whatever the order of tables."""
    flat = sample['gt_seg_map'].reshape(-1)
    _, first, place = np.unique(flat, return_index=True, return_inverse=True)
    kinds = np.array([(-1, -1), *((s['label'], s['iscrowd']) for s in sample['segments_info'])])
    return np.concatenate([kinds[flat], first[place.reshape(-1)][:, None]], axis=1)


# ---- bugs


@pytest.mark.parametrize(
    ('module', 'name', 'kind'),
    [
        (coco_panoptic, 'read_crowd', PanopticDataset),
        (coco_panoptic, '_read_table', PanopticDataset),
        (coco_instances, '_read_object', InstanceDataset),
        (coco_instances, 'read_images', InstanceDataset),
    ],
)
def test_a_bug_in_a_reader_keeps_its_traceback(folder, monkeypatch, module, name, kind):
    contents = {PanopticDataset: files.panoptic_contents(), InstanceDataset: files.instance_contents()}
    (folder / 'maps/a.png').write_bytes(b'')

    def bug(*_, **__):
        return {}['a bug']

    monkeypatch.setattr(module, name, bug)

    @settings(FEW, max_examples=3)
    @given(contents[kind])
    def check(content):
        content['annotations'] = content['annotations'] or [{}]
        (folder / 'in/a.json').write_text(json.dumps(content))
        with pytest.raises(KeyError, match='a bug'):
            load(kind, folder / 'in/a.json', folder / 'photos')
        with pytest.raises(KeyError, match='a bug'):
            if kind is PanopticDataset:
                diagnose(folder / 'in/a.json', folder)
            else:
                CocoFormat(folder / 'in/a.json', folder / 'photos', None)

    check()


def test_a_bug_in_the_decoder_of_ids_keeps_its_traceback(folder, monkeypatch):
    monkeypatch.setattr(id_maps.cv2, 'cvtColor', lambda *_: {}['a bug'])
    Image.fromarray(np.full((*SIZE, 3), 10, np.uint8)).save(folder / 'maps/a.png')
    with pytest.raises(KeyError, match='a bug'):
        read_ids(folder / 'maps/a.png')
