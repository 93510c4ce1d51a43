"""Files as people and their tools write them: valid ones, nearly valid ones, and bytes of no kind.

``check_reader`` runs a reader on them. Whatever comes, it returns records or raises one UserError that names the file;
at least 30 % of what is drawn has to be accepted, or the test would try nothing but the first check.
"""

import io
import json
import tracemalloc

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mmseg_oneformer.errors import UserError
from tests.soak.mutations import at, places

ACCEPTED = 0.3
MEMORY = 100 * 2**20
"""Bytes that reading a file of a few kilobytes may take."""
EXAMPLES = settings(
    max_examples=100, database=None, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)

NUMBERS = st.one_of(
    st.integers(-5, 70),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0, -1, 2**31, 2**63, 10**40, 1e308, -1e12, 0.5, float('nan'), float('inf')]),
)
TEXT = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ['', '0', '1', '12', '300.0', 'false', 'nan', 'a.jpg', '..', '../a.jpg', '/etc/passwd', 'a\0', '\ud800']
    ),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXT)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=8,
)
"""Whatever a JSON can hold."""


@st.composite
def mutated(draw, values, most=2):
    """A value of ``values`` (plain data) with some changes: something replaced, removed or there twice."""
    value = json.loads(json.dumps(draw(values)))
    for _ in range(draw(st.integers(0, most))):
        found = [path for path in places(value) if path]
        if not found:
            break
        *path, key = draw(st.sampled_from(found))
        parent = at(value, path)
        change = draw(st.sampled_from(['replace', 'remove', 'text', 'twice']))
        if change == 'remove':
            del parent[key]
        elif change == 'twice' and isinstance(parent, list):
            parent.append(parent[key])
        elif change == 'text':
            parent[key] = str(parent[key])
        else:
            parent[key] = draw(VALUES)
    return value


@st.composite
def encoded(draw, texts):
    """Bytes of a text: in UTF-8 mostly, in other encodings, cut off or changed."""
    text = draw(texts)
    codec = draw(st.sampled_from(['utf-8'] * 8 + ['utf-8-sig', 'utf-16', 'utf-32', 'latin-1']))
    data = text.encode(codec, errors='replace')
    damage = draw(st.sampled_from(['none'] * 12 + ['cut', 'byte', 'noise']))
    if damage == 'cut':
        data = data[: draw(st.integers(0, len(data)))]
    elif damage == 'byte' and data:
        place = draw(st.integers(0, len(data) - 1))
        data = data[:place] + bytes([draw(st.integers(0, 255))]) + data[place + 1 :]
    elif damage == 'noise':
        data = draw(st.binary(max_size=40))
    return data


def json_files(values, most=2):
    """Bytes of JSON files whose content is nearly one of ``values``."""
    return encoded(mutated(values, most).map(json.dumps))


@st.composite
def png_files(draw, size=(6, 8), values=(0, 1, 2, 255), damaged=True):
    """Bytes of a PNG (or another picture) of ``size`` with ``values``, in any mode and depth."""
    height, width = size
    pixels = np.array(
        draw(st.lists(st.sampled_from(values), min_size=height * width, max_size=height * width)), np.uint8
    ).reshape(size)
    mode = draw(st.sampled_from([*'LLLPPP', 'grey RGB', 'RGBA', 'LA', '1', 'I;16', 'RGB']))
    picture = Image.fromarray(pixels)
    if mode == 'P':
        picture = Image.fromarray(pixels, 'P')
        picture.putpalette(list(range(256)) * 3)
    elif mode == 'I;16':
        picture = Image.fromarray(pixels.astype(np.uint16))
    elif mode == 'RGB':
        picture = Image.merge('RGB', [picture, Image.fromarray(255 - pixels), picture])
    elif mode != 'L':
        picture = picture.convert(mode.removeprefix('grey '))
    buffer = io.BytesIO()
    picture.save(buffer, format='png')
    data = buffer.getvalue()
    damage = draw(st.sampled_from(['none'] * 9 + ['cut', 'byte', 'size'])) if damaged else 'none'
    if damage == 'cut':
        return data[: draw(st.integers(0, len(data)))]
    if damage == 'byte':
        place = draw(st.integers(0, len(data) - 1))
        return data[:place] + bytes([draw(st.integers(0, 255))]) + data[place + 1 :]
    if damage == 'size':
        sides = draw(st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1)))
        return data[:16] + b''.join(side.to_bytes(4, 'big') for side in sides) + data[24:]
    return data


OUTLINES = st.lists(st.tuples(st.integers(-3, 12), st.integers(-3, 9)).map(list), min_size=3, max_size=6)


@st.composite
def labelme_contents(draw):
    """Content of a labelme JSON of a photo a.jpg of 8x6."""
    corners = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 6)).map(list), min_size=2, max_size=2)
    kinds = st.one_of(
        st.tuples(st.sampled_from(['polygon', 'polygon', None]), OUTLINES),
        st.tuples(st.sampled_from(['rectangle', 'circle', 'line']), corners),
        st.tuples(st.sampled_from(['rectangle', 'rotation']), OUTLINES.map(lambda points: (points * 2)[:4])),
    )
    shapes = [
        {
            'label': draw(st.sampled_from(['dog', 'cat', 'lawn'])),
            'shape_type': kind,
            'points': points,
            'group_id': draw(st.sampled_from([None, None, 1, '1', 'x'])),
            'flags': {},
        }
        for kind, points in draw(st.lists(kinds, max_size=3))
    ]
    return {
        'version': '5.0',
        'shapes': shapes,
        'imagePath': draw(st.sampled_from(['a.jpg', 'a.jpg', '..\\photos\\a.jpg', None])),
        'imageData': None,
        'imageHeight': draw(st.sampled_from([6, '6', None])),
        'imageWidth': draw(st.sampled_from([8, 8.0])),
    }


@st.composite
def instance_contents(draw):
    """Content of an instance JSON of a photo a.jpg of 8x6."""
    flat = OUTLINES.map(lambda points: [value for point in points for value in point])
    codes = st.lists(st.integers(0, 16), min_size=3, max_size=3).map(
        lambda counts: {'size': [6, 8], 'counts': [*counts, 48 - sum(counts)]}
    )
    annotations = [
        {
            'id': number,
            'image_id': 7,
            'category_id': draw(st.sampled_from([1, 3])),
            'segmentation': segmentation,
            'iscrowd': draw(st.sampled_from([0, 0, 1])),
            'area': 4.0,
            'bbox': [0, 0, 2, 2],
        }
        for number, segmentation in enumerate(
            draw(st.lists(st.one_of(st.lists(flat, min_size=1, max_size=2), codes), max_size=3)), start=1
        )
    ]
    return {
        'images': [{'id': 7, 'file_name': 'a.jpg', 'height': 6, 'width': 8}],
        'annotations': annotations,
        'categories': [{'id': 1, 'name': 'dog', 'supercategory': 'animal'}, {'id': 3, 'name': 'cat'}],
    }


@st.composite
def id_pngs(draw, size=(6, 8)):
    """Bytes of a PNG with the ids 10 and 300, mostly; of strange ids, palettes, or damaged."""
    ids = np.full(size, 10)
    ids[size[0] // 2 :, 2:6] = 300
    strange = draw(st.sampled_from([None] * 16 + [0, 7, 2**24 - 1]))
    if strange is not None:
        ids[0, : draw(st.integers(1, size[1]))] = strange
    if draw(st.sampled_from([False] * 19 + [True])):
        ids = ids.T
    pixels = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1).astype(np.uint8)
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture = picture.convert(draw(st.sampled_from(['RGB'] * 12 + ['RGBA', 'P'])))
    buffer = io.BytesIO()
    picture.save(buffer, format='png')
    data = buffer.getvalue()
    damage = draw(st.sampled_from(['none'] * 20 + ['cut', 'byte']))
    place = draw(st.integers(0, len(data) - 1)) if damage != 'none' else 0
    return {'none': data, 'cut': data[:place], 'byte': data[:place] + b'\x55' + data[place + 1 :]}[damage]


@st.composite
def panoptic_contents(draw):
    """Content of a panoptic JSON of a photo a.jpg whose PNG has the ids 10 and 300."""
    segments = [{'id': 10, 'category_id': 1}, {'id': 300, 'category_id': 2, 'iscrowd': draw(st.sampled_from([0, 1]))}]
    return {
        'images': [{'id': 1, 'file_name': 'a.jpg', 'height': 6, 'width': 8}],
        'annotations': [{'image_id': 1, 'file_name': 'a.png', 'segments_info': segments}],
        'categories': [{'id': 1, 'name': 'sky', 'isthing': 0}, {'id': 2, 'name': 'dog', 'isthing': 1}],
    }


@st.composite
def yolo_lines(draw):
    """Text of a YOLO label file: outlines of the classes 0 and 1, and other things."""
    share = st.floats(0, 1).map(lambda value: f'{value:.3f}')
    outline = st.lists(share, min_size=6, max_size=10).map(lambda values: values[: len(values) // 2 * 2])
    number = st.sampled_from(['0', '1', '1', '0.0'])
    good = st.builds(lambda label, values: ' '.join([label, *values]), number, outline)
    token = st.one_of(share, st.sampled_from(['nan', '-1', 'inf', '1e400', 'dog', '2', '']), st.text(max_size=4))
    lines = st.one_of(good, good, good, st.just(''), st.lists(token, max_size=7).map(' '.join))
    return draw(st.sampled_from(['\n', '\r\n'])).join(draw(st.lists(lines, max_size=4)))


def check_reader(read, files, path, settings=EXAMPLES):
    """Run ``read(path)`` on drawn files; see above.

    Args:
        read: The reader.
        files: Strategy of the bytes of a file.
        path: Where it is written; nothing else may be made in its folder.
        settings: Of hypothesis.
    """
    outcomes = []

    @settings
    @given(files)
    def check(data):
        path.write_bytes(data)
        tracemalloc.start()
        try:
            read(path)
            outcomes.append(True)
        except UserError as error:
            outcomes.append(False)
            assert str(path) in str(error), error
            assert len(str(error)) < 3000 and str(error).strip()
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < MEMORY, f'{peak / 2**20:.0f} MB'

    check()
    assert list(path.parent.iterdir()) == [path], 'the reader has written something'
    assert np.mean(outcomes) >= ACCEPTED, f'{np.mean(outcomes):.0%} of {len(outcomes)} accepted'
