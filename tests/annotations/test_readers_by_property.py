"""Whatever bytes come: records that can be used, or one sentence that names the file."""

import numpy as np
import pytest
from hypothesis import strategies as st

from mmseg_oneformer.annotations.instance_id_png import read_instance_ids
from mmseg_oneformer.annotations.labelme import read_labelme, shape_code
from mmseg_oneformer.annotations.semantic_png import read_pixels, read_values
from mmseg_oneformer.annotations.text import read_text
from mmseg_oneformer.annotations.values import InvalidValueError
from mmseg_oneformer.annotations.voc import read_labelmap, read_voc_classes, read_voc_objects
from mmseg_oneformer.annotations.yolo import read_yolo_labels, read_yolo_names, yolo_code
from tests.annotations import strategies as files

SIZE = (6, 8)


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'a.file'


def check_code(code):
    assert list(code['size']) == list(SIZE)


def read_shapes(path):
    content = read_labelme(path)
    for shape in content.shapes:
        try:
            check_code(shape_code(shape, SIZE))
        except InvalidValueError as error:
            assert '\n' not in str(error)


def read_outlines(path):
    labels = read_yolo_labels(path, 2)
    for one in labels.objects:
        assert one.label in (0, 1)
        try:
            check_code(yolo_code(one, SIZE))
        except InvalidValueError as error:
            assert '\n' not in str(error)


def read_map(path):
    values = read_values(path, SIZE)
    assert values.shape == SIZE and values.dtype == np.int32 and values.min() >= 0 and values.max() <= 65535


def read_ids(path):
    values, regions = read_instance_ids(path, SIZE)
    assert {region.value for region in regions} == set(values.reshape(-1).tolist())


def read_objects(path):
    numbers, names = read_voc_objects(path, SIZE)
    assert set(np.unique(numbers).tolist()) - {0} == set(names)


def read_names(path):
    names = read_yolo_names(path)
    assert names and all(isinstance(name, str) and name.strip() == name != '' for name in names)


def test_labelme(path):
    files.check_reader(read_shapes, files.json_files(files.labelme_contents()), path)


def test_yolo_labels(path):
    files.check_reader(read_outlines, files.encoded(files.yolo_lines()), path)


NAMES = st.lists(st.sampled_from(['dog', 'no', '3', 'traffic light', 'ä', '~', 'a: b', '- c']), min_size=1, unique=True)


def as_yaml(names):
    return st.sampled_from(
        [
            'names:\n' + ''.join(f'  {number}: "{name}"\n' for number, name in enumerate(names)),
            'nc: 3\nnames: [' + ', '.join(f"'{name}'" for name in names) + ']\n',
            'names:\n' + ''.join(f"  '{number}': {name}\n" for number, name in enumerate(names)),
        ]
    )


@pytest.mark.parametrize('suffix', ['.yaml', '.txt'])
def test_yolo_names(tmp_path, suffix):
    texts = NAMES.flatmap(as_yaml) if suffix == '.yaml' else NAMES.map('\n'.join)
    files.check_reader(
        read_names, files.encoded(st.one_of(texts, texts, st.text(max_size=30))), tmp_path / f'a{suffix}'
    )


LINES = st.builds(
    lambda name, color, rest: f'{name}:{color}:{rest}',
    st.sampled_from(['dog', 'cat', 'background', 'a b']),
    st.lists(st.integers(-1, 256).map(str), min_size=3, max_size=3).map(','.join),
    st.sampled_from(['', ':', 'arm,leg:run']),
)


def test_labelmap(path):
    lines = st.lists(st.one_of(LINES, st.just('# x'), st.just('lawn::')), min_size=1, max_size=2)
    files.check_reader(read_labelmap, files.encoded(lines.map('\n'.join)), path)


@pytest.mark.parametrize(
    'read',
    [read_map, read_ids, read_objects, lambda path: read_voc_classes(path, SIZE), lambda path: read_pixels(path)],
)
def test_pngs(path, read):
    files.check_reader(read, files.png_files(SIZE), path)


def test_pngs__no_bytes_at_all(path):
    with pytest.raises(AssertionError, match='0% of'):  # Nothing of this is a PNG; it is a sentence each time.
        files.check_reader(read_map, st.binary(max_size=60), path)


def test_text(path):
    files.check_reader(read_text, files.encoded(st.text(max_size=20)), path)
