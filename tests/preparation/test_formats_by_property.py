"""Whatever annotations come: panoptic files that are right, or one sentence; nothing is written elsewhere."""

import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from PIL import Image

from mmseg_oneformer.annotations.coco_panoptic import read_panoptic
from mmseg_oneformer.errors import UserError
from mmseg_oneformer.preparation.formats import CocoFormat, InstanceIdFormat, LabelmeFormat, VocFormat, YoloFormat
from mmseg_oneformer.preparation.own_data import write_panoptic
from tests.annotations import strategies as files

SIZE = (6, 8)
EXAMPLES = settings(files.EXAMPLES, max_examples=60)
VALUES = (0, 0, 0, 1, 1, 255)


@pytest.fixture(scope='module', autouse=True)
def _home(tmp_path_factory):
    set_hypothesis_home_dir(str(tmp_path_factory.mktemp('hypothesis')))


def coco(folder):
    return CocoFormat(folder / 'in/a.json', folder / 'photos', None, rest='floor')


def labelme(folder):
    return LabelmeFormat(folder / 'in', folder / 'photos', ['dog'], ['lawn'], ['cat'])


def yolo(folder):
    return YoloFormat(folder / 'in', folder / 'photos', ['dog', 'cat'], None, stuff=['cat'])


def with_semantic(folder):
    (folder / 'labels').mkdir(exist_ok=True)
    (folder / 'labels/a.txt').write_text('0 0.1 0.1 0.9 0.1 0.9 0.9\n')
    return YoloFormat(folder / 'labels', folder / 'photos', ['dog'], folder / 'in', stuff=['sky=0', 'lawn=1'])


def voc(folder):
    (folder / 'objects').mkdir(exist_ok=True)
    Image.fromarray((np.arange(48).reshape(SIZE) == 0).astype(np.uint8)).save(folder / 'objects/a.png')
    return VocFormat(folder / 'photos', folder / 'objects', folder / 'in', ['dog=1'])


def ids(folder):
    return InstanceIdFormat(folder / 'in', folder / 'photos', ['dog=1'], rest='floor')


@pytest.mark.parametrize(
    ('make', 'name', 'contents'),
    [
        (coco, 'a.json', files.json_files(files.instance_contents(), most=1)),
        (labelme, 'a.json', files.json_files(files.labelme_contents(), most=1)),
        (yolo, 'a.txt', files.encoded(files.yolo_lines())),
        (with_semantic, 'a.png', files.png_files(SIZE, VALUES)),
        (voc, 'a.png', files.png_files(SIZE, (1, 1, 1, 1, 1, 1, 1, 1, 255))),
        (ids, 'a.png', files.png_files(SIZE, (0, 1))),
    ],
)
def test_formats(tmp_path, read_panoptic, make, name, contents):
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'in').mkdir()
    Image.new('RGB', SIZE[::-1]).save(tmp_path / 'photos/a.jpg')
    outcomes = []

    @EXAMPLES
    @given(contents)
    def check(data):
        (tmp_path / 'in' / name).write_bytes(data)
        shutil.rmtree(tmp_path / 'out', ignore_errors=True)
        try:
            written = write_panoptic(make(tmp_path), tmp_path / 'photos', tmp_path / 'out', 'train', processes=1)
        except UserError as error:
            outcomes.append(False)
            assert len(str(error)) < 3000
            assert not (tmp_path / 'out/panoptic_train.json').exists()
            assert name in str(error) or 'a.jpg' in str(error) or 'No object is left' in str(error), error
            return
        outcomes.append(True)
        check_written(written, read_panoptic)

    check()
    assert {path.name for path in tmp_path.iterdir()} <= {'photos', 'in', 'out', 'labels', 'objects'}
    assert [path.name for path in (tmp_path / 'photos').iterdir()] == ['a.jpg']
    assert [path.name for path in (tmp_path / 'in').iterdir()] == [name]
    assert np.mean(outcomes) >= files.ACCEPTED, f'{np.mean(outcomes):.0%} accepted'


def check_written(written, read_maps):
    """The reader of the loader and the doctor finds no fault, and the PNG has exactly the ids of the table."""
    content = read_panoptic(written.path)
    assert content.faults == []
    maps, _ = read_maps(written.path)
    assert len(maps) == written.photos == 1
    for numbers, segments in maps.values():
        assert numbers.shape == SIZE
        found, areas = np.unique(numbers[numbers > 0], return_counts=True)
        assert dict(zip(found.tolist(), areas.tolist())) == {s['id']: s['area'] for s in segments}


def test_formats__any_json(tmp_path):
    """Nothing of a JSON's form is taken for granted."""
    (tmp_path / 'photos').mkdir()
    Image.new('RGB', SIZE[::-1]).save(tmp_path / 'photos/a.jpg')
    keys = ('shapes', 'imagePath', 'images', 'annotations', 'categories')

    @EXAMPLES
    @given(st.fixed_dictionaries(dict.fromkeys(keys, files.VALUES)).map(files.json.dumps))
    def check(text):
        (tmp_path / 'in').mkdir(exist_ok=True)
        (tmp_path / 'in/a.json').write_text(text)
        for make in (coco, labelme):
            shutil.rmtree(tmp_path / 'out', ignore_errors=True)
            try:
                write_panoptic(make(tmp_path), tmp_path / 'photos', tmp_path / 'out', 'train', processes=1)
            except UserError as error:
                assert 'a.json' in str(error) or 'photos' in str(error), error

    check()
