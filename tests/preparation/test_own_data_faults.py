"""What is broken, told or refused: each fault of a converter with the right outcome."""

import base64
import json
import multiprocessing
import os
import signal
import struct
import zlib

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmseg_oneformer.annotations import coco_instances, labelme, semantic_png, yolo
from mmseg_oneformer.errors import UserError
from mmseg_oneformer.preparation import parallel
from mmseg_oneformer.preparation.formats import LabelmeFormat
from mmseg_oneformer.preparation.own_data import write_panoptic
from mmseg_oneformer.preparation.parallel import hold_journal
from mmseg_oneformer.preparation.recognition import conversion_command

SIZE = (20, 30)
SQUARE = [2, 2, 8, 2, 8, 8, 2, 8]


@pytest.fixture
def folder(tmp_path, downloads):
    """A photo photos/a.jpg."""
    downloads.photo(tmp_path / 'photos/a.jpg', SIZE)
    return tmp_path


@pytest.fixture
def convert(folder, call_tool, capsys, read_panoptic, tree):
    """The tool on that photo; returns the names of its segments and where each is, and what was printed."""

    def run(kind, annotations, *args, status=0, images='photos'):
        before = tree(folder)
        arguments = [kind, annotations, '--images', images, '--out', 'out', *args]
        done = call_tool('dataset_converters/to_panoptic.py', *arguments)
        printed = capsys.readouterr()
        assert done == status, printed.err
        after = tree(folder)
        assert {name: data for name, data in after.items() if not name.startswith('out/')} == {
            name: data for name, data in before.items() if not name.startswith('out/')
        }, 'something was written elsewhere'
        if status:
            assert 'Traceback' not in printed.err and printed.err.startswith('error: ')
            return printed.err
        maps, content = read_panoptic(folder / 'out/panoptic_train.json')
        names = {category['id']: category['name'] for category in content['categories']}
        ids, segments = maps['a.png']
        found = [(names[s['category_id']] + '*' * s['iscrowd'], (ids == s['id']).sum()) for s in segments]
        return found, printed.out + printed.err

    return run


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content if isinstance(content, bytes) else content if isinstance(content, str) else json.dumps(content)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def png(path, values, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values, mode).save(path)


def coco(*objects, **changes):
    return {
        'images': [{'id': 1, 'file_name': 'a.jpg'}],
        'annotations': [
            {'id': n, 'image_id': 1, 'category_id': 1, 'segmentation': [SQUARE], **one}
            for n, one in enumerate(objects, start=1)
        ],
        'categories': [{'id': 1, 'name': 'dog'}],
    } | changes


GOOD = ([('dog', 36)], '0 broken and left out')
BROKEN = {
    'two points': ([[2, 2, 8, 8]], 'has an outline of 4 numbers'),
    'nothing': ([], 'has no segmentation'),
    'null': (None, 'has no segmentation'),
    'text': ('[[2, 2]]', 'neither outlines nor a mask'),
    'flat': (SQUARE, 'one flat list of numbers'),
    'nan': ([[2, 2, 8, 2, float('nan'), 8]], 'not finite'),
    'infinite': ([[2, 2, 8, 2, float('inf'), 8]], 'not finite'),
    'huge': ([[2, 2, 8, 2, 1e12, 8]], 'far outside the photo'),
    'outside': ([[31, 2, 35, 2, 35, 8]], 'covers no pixel'),
    'flat line': ([[2, 2, 8, 2, 5, 2]], 'covers no pixel'),
    'short code': ({'size': [20, 30], 'counts': [100, 50]}, 'add up to 150 pixels, but its photo of 30x20 has 600'),
    'negative code': ({'size': [20, 30], 'counts': [-5, 605]}, 'a count that is -5'),
    'garbage code': ({'size': [20, 30], 'counts': 'zzzz'}, 'not a compressed code'),
    'list as text': ({'size': [20, 30], 'counts': '[100, 500]'}, 'not a compressed code'),
    'no size': ({'counts': [600]}, 'has a mask with the size None'),
}


@pytest.mark.parametrize('name', BROKEN)
def test_coco__a_broken_object_is_left_out_and_strict_stops(convert, folder, name):
    segmentation, words = BROKEN[name]
    write(folder / 'x.json', coco({}, {'segmentation': segmentation}))
    found, printed = convert('coco', 'x.json')
    assert found == [('dog', 36)]
    assert '1 broken and left out' in printed and 'x.json: annotation 2 ' in printed and words in printed
    assert 'x.json: annotation 2 ' in (message := convert('coco', 'x.json', '--strict', status=2)) and words in message


def test_coco__nothing_left_is_an_error(convert, folder):
    write(folder / 'x.json', coco({'segmentation': []}, {'segmentation': [[1, 1]]}))
    message = convert('coco', 'x.json', status=2)
    assert 'all 2 are broken' in message and 'annotation 1' in message and 'annotation 2' in message
    assert not (folder / 'out/panoptic_train.json').exists()


def test_coco__good_outlines_beside_a_broken_one_stay(convert, folder):
    write(folder / 'x.json', coco({'segmentation': [SQUARE, [1, 1, 2, 2], [10, 10, 14, 10, 14, 14, 10, 14]]}))
    found, printed = convert('coco', 'x.json')
    assert found == [('dog', 36 + 16)] and '1 broken and left out' in printed


def test_coco__several_structural_faults_are_named_at_once(convert, folder):
    content = coco({'category_id': 9}, {'image_id': 4}, {'id': 'x'}, {'iscrowd': 7})
    write(folder / 'x.json', content)
    message = convert('coco', 'x.json', status=2)
    assert 'x.json has 4 faults' in message
    for words in ('annotation 1 has category 9', 'annotation 2 is of image 4', "annotation 'x'", '"iscrowd" that is 7'):
        assert words in message


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'images': [{'id': 1, 'file_name': 'a.jpg'}] * 2}, 'image id 1 is there twice'),
        ({'categories': [{'id': 1, 'name': 'dog'}, {'id': 1, 'name': 'cat'}]}, "is there twice ('dog' and 'cat')"),
        ({'categories': [{'id': 1, 'name': 'dog'}, {'id': 2, 'name': 'dog'}]}, "two categories called 'dog'"),
        (
            {'images': [{'id': 1, 'file_name': 'a.jpg'}, {'id': 2, 'file_name': 'a.jpg'}]},
            'image 1 of x.json and image 2 of x.json are both of photo a.jpg',
        ),
        ({'images': [{'id': 1, 'file_name': 'A.JPG'}]}, 'photos/A.JPG does not exist, but photos/a.jpg does'),
        ({'images': [{'id': 1, 'file_name': 'b/a.jpg'}]}, 'photos/b/a.jpg does not exist, but photos/a.jpg does'),
        ({'images': [{'id': 1, 'file_name': '../photos/a.jpg'}]}, 'leads out of its folder'),
        ({'categories': None}, '"categories" is None instead of a list'),
        ({'annotations': 'x'}, '"annotations" is \'x\' instead of a list'),
        ({'images': [{'id': 1, 'file_name': 'a.jpg', 'height': 0, 'width': 30}]}, '"height" that is 0'),
    ],
)
def test_coco__structural_faults_stop(convert, folder, changes, words):
    write(folder / 'x.json', coco({}, **changes))
    assert words in convert('coco', 'x.json', status=2)


@pytest.mark.parametrize('name', ['photos\\a.jpg', 'photos/a.jpg', '1a2b3c4d-a.jpg', 'images/1a2b3c4d-a.jpg'])
def test_coco__names_as_other_tools_write_them(convert, folder, name):
    write(folder / 'x.json', coco({}, images=[{'id': 1, 'file_name': name, 'height': '20', 'width': '30'}]))
    assert convert('coco', 'x.json')[0] == [('dog', 36)]


@pytest.mark.parametrize('flag', [0, False, '0', 'false', None, 0.0])
def test_coco__no_crowd_in_any_spelling(convert, folder, flag):
    write(folder / 'x.json', coco({'iscrowd': flag}))
    assert convert('coco', 'x.json')[0] == [('dog', 36)]


def test_coco__crowds_are_told_and_can_be_objects(convert, folder):
    write(folder / 'x.json', coco({'iscrowd': 1}, {'iscrowd': 1, 'segmentation': [[10, 10, 14, 10, 14, 14, 10, 14]]}))
    found, printed = convert('coco', 'x.json')
    assert found == [('dog*', 36), ('dog*', 16)] and '2 of 2 of dog' in printed and '--crowds-are-objects' in printed
    found, printed = convert('coco', 'x.json', '--crowds-are-objects')
    assert found == [('dog', 36), ('dog', 16)] and 'crowds,' not in printed


def test_coco__the_root_category_of_roboflow_is_no_class(convert, folder):
    categories = [{'id': 0, 'name': 'pets', 'supercategory': 'none'}, {'id': 1, 'name': 'dog', 'supercategory': 'pets'}]
    write(folder / 'x.json', coco({}, categories=categories))
    _, printed = convert('coco', 'x.json')
    assert "category 'pets' is a group without objects" in printed
    content = json.loads((folder / 'out/panoptic_train.json').read_text())
    assert [category['name'] for category in content['categories']] == ['dog']


def test_coco__things_and_ignore_are_heeded(convert, folder):
    categories = [{'id': 1, 'name': 'dog'}, {'id': 2, 'name': 'cat'}]
    far = {'category_id': 2, 'segmentation': [[10, 10, 14, 10, 14, 14, 10, 14]]}
    write(folder / 'x.json', coco({}, far, categories=categories))
    assert "has the category 'cat', which --things does not list" in convert(
        'coco', 'x.json', '--things', 'dog', status=2
    )
    assert 'did you mean "dog"' in convert('coco', 'x.json', '--things', 'dogg', status=2)
    found, _ = convert('coco', 'x.json', '--things', 'dog', '--ignore', 'cat', '--rest', 'floor')
    assert found == [('dog', 36), ('floor', 600 - 36 - 16)], 'what is ignored is void, and not rest'
    assert 'no class' in convert('coco', 'x.json', '--ignore', 'cat', 'dog', status=2)
    assert 'to --rest and to --ignore' in convert('coco', 'x.json', '--ignore', 'cat', '--rest', 'cat', status=2)
    assert "'dog' is given as thing and as stuff" in convert(
        'coco', 'x.json', '--things', 'dog=3', '--rest', 'dog', status=2
    )


def test_rest__void_of_the_semantic_map_stays_void(convert, folder):
    write(folder / 'x.json', coco({}))
    values = np.zeros(SIZE, np.uint8)
    values[:, 15:] = 255
    png(folder / 'masks/a.png', values)
    found, _ = convert('coco', 'x.json', '--semantic', 'masks', '--stuff', 'sky=0', '--rest', 'floor')
    assert found == [('sky', 300 - 36), ('dog', 36)]
    found, _ = convert('coco', 'x.json', '--semantic', 'masks', '--rest', 'sky', '--stuff', 'sky=0')
    assert found == [('sky', 300 - 36), ('dog', 36)]


def test_unused__photos_and_kinds_that_are_not_read_are_told(convert, folder):
    for name in ('b.JPG', 'c.gif', '._a.jpg', 'note.txt'):
        Image.new('RGB', (30, 20)).save(folder / 'photos' / name, format='png')
    write(folder / 'x.json', coco({}))
    _, printed = convert('coco', 'x.json')
    assert 'without an annotation: b.JPG.' in printed and 'not read: c.gif' in printed and '._a' not in printed


def shape(points, kind='polygon', label='dog', **changes):
    return {'label': label, 'points': points, 'shape_type': kind, 'group_id': None, 'flags': {}, **changes}


def labelme_json(*shapes, **changes):
    return {'version': '5', 'shapes': list(shapes), 'imagePath': 'a.jpg', 'imageHeight': 20, 'imageWidth': 30} | changes


BOX = [[2, 2], [8, 2], [8, 8], [2, 8]]


def mask_of(values, mode=None):
    buffer = cv2.imencode('.png', values)[1].tobytes()
    return base64.b64encode(buffer).decode()


HALF_CLEAR = np.full((6, 8, 4), 255, np.uint8)
HALF_CLEAR[:, 6:, 3] = 0


@pytest.mark.parametrize(
    'content',
    {
        'rectangle of four corners': labelme_json(shape(BOX, 'rectangle')),
        'rotation': labelme_json(shape(BOX, 'rotation', direction=1.5)),
        'null type': labelme_json(shape(BOX, None)),
        'sizes as text': labelme_json(shape(BOX), imageHeight='20', imageWidth='30'),
        'no sizes': labelme_json(shape(BOX), imageHeight=None, imageWidth=None),
        'no path': labelme_json(shape(BOX), imagePath=None),
        'backslashes': labelme_json(shape(BOX), imagePath='..\\photos\\a.jpg'),
        'flags': labelme_json(shape(BOX, flags=None), flags=[1]),
        'groups': labelme_json(*(shape([[x, 2], [x + 2, 2], [x + 2, 8], [x, 8]], group_id=[1, {}]) for x in (2, 4, 6))),
        'groups in two spellings': labelme_json(
            *(shape([[x, 2], [x + 3, 2], [x + 3, 8], [x, 8]], group_id=group) for x, group in ((2, 1), (5, '1')))
        ),
        'mask': labelme_json(shape([[2, 2], [7, 7]], 'mask', mask=mask_of(np.full((6, 6), 255, np.uint8)))),
        'mask of 16 bits': labelme_json(shape([[2, 2], [7, 7]], 'mask', mask=mask_of(np.full((6, 6), 255, np.uint16)))),
        'mask with alpha': labelme_json(shape([[2, 2], [9, 7]], 'mask', mask=mask_of(HALF_CLEAR))),
        'byte order mark': json.dumps(labelme_json(shape(BOX))).encode('utf-8-sig'),
        'utf-16': json.dumps(labelme_json(shape(BOX))).encode('utf-16'),
    }.items(),
    ids=lambda item: item[0],
)  # fmt: skip
def test_labelme__forms_that_tools_write(convert, folder, content):
    write(folder / 'labels/a.json', content[1])
    found, printed = convert('labelme', 'labels', '--things', 'dog')
    assert found == [('dog', 36)] and '0 broken' in printed


@pytest.mark.parametrize(
    ('broken', 'words'),
    [
        (shape(BOX[:2]), 'has an outline of 4 numbers'),
        (shape([[2, 2], [8, float('nan')], [8, 8]]), 'nan, which is not a finite number'),
        (shape([[2, 2], [8, 1e9], [8, 8]]), 'far outside the photo'),
        (shape([[2, 2], 'x', [8, 8]]), 'points that are not pairs of x and y'),
        (shape(None), 'points that are not pairs of x and y'),
        (shape([[2, 2]], 'point'), 'is a point, which has no area'),
        (shape(BOX[:2], 'spiral'), "unknown shape 'spiral'"),
        (shape(BOX[:2], 'mask', mask='x'), 'has a mask that cannot be decoded'),
        (shape(BOX[:2], 'mask', mask=None), 'has a mask that cannot be decoded'),
        (shape([[99, 99], [104, 104]], 'mask', mask=mask_of(np.ones((6, 6), np.uint8))), 'covers no pixel'),
    ],
)
def test_labelme__a_broken_shape_is_left_out(convert, folder, broken, words):
    write(folder / 'labels/a.json', labelme_json(shape(BOX), broken))
    found, printed = convert('labelme', 'labels', '--things', 'dog')
    assert found == [('dog', 36)] and 'a.json: shape 2 (dog) ' in printed and words in printed
    assert words in convert('labelme', 'labels', '--things', 'dog', '--strict', status=2)


def test_labelme__a_mask_that_reaches_outside_is_cut(convert, folder):
    mask = mask_of(np.full((6, 6), 255, np.uint8))
    write(folder / 'labels/a.json', labelme_json(shape([[-2, -1], [3, 4]], 'mask', mask=mask)))
    assert convert('labelme', 'labels', '--things', 'dog')[0] == [('dog', 4 * 5)]
    write(folder / 'labels/a.json', labelme_json(shape([[27, 18], [33, 24]], 'mask', mask=mask)))
    assert convert('labelme', 'labels', '--things', 'dog')[0] == [('dog', 3 * 2)]


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (labelme_json({'points': BOX}), 'shape 1 has no label'),
        (labelme_json(shape(BOX, label=3), shape(BOX, label='')), 'has 2 faults'),
        (labelme_json(7), 'shape 1 has no label'),
        (labelme_json(imageHeight='x'), '"imageHeight" is \'x\''),
        (labelme_json(imagePath=3), '"imagePath" is 3'),
        ([], 'is not a labelme JSON'),
        ({'shapes': {}, 'imagePath': 'a.jpg'}, 'is not a labelme JSON'),
        ('[' * 100_000, 'is not valid JSON'),
    ],
)
def test_labelme__structural_faults_stop(convert, folder, content, words):
    write(folder / 'labels/a.json', content)
    message = convert('labelme', 'labels', '--things', 'dog', status=2)
    assert words in message and 'labels/a.json' in message


def test_labelme__a_second_split_beside_the_first(convert, folder):
    write(folder / 'photos/a.json', labelme_json(shape(BOX)))
    call = ('labelme', 'photos', '--things', 'dog')
    convert(*call)
    (folder / 'out').rename(folder / 'photos/out')
    assert convert(*call)[0] == [('dog', 36)], 'the JSON of the first one is no labelme file'


YOLO = '0 0.1 0.1 0.3 0.1 0.3 0.4 0.1 0.4\n'


@pytest.mark.parametrize(
    ('text', 'pixels', 'count'),
    {
        'plain': (YOLO, 36, 0),
        'float class': ('0.0' + YOLO[1:], 36, 0),
        'byte order mark': (YOLO.encode('utf-8-sig'), 36, 0),
        'utf-16': (YOLO.encode('utf-16'), 36, 0),
        'a box': (YOLO + '0 0.5 0.5 0.2 0.2\n', 36, 1),
        'not finite': (YOLO + '0 0.5 0.5 nan 0.2 0.1 0.1\n', 36, 1),
        'pixels': (YOLO + '0 10 10 20 10 20 20\n', 36, 1),
        'two points': (YOLO + '0 0.1 0.1 0.2 0.2 0.3\n', 36, 1),
        'no number': (YOLO + '0 0.1 0.1 x 0.2 0.3 0.4\n', 36, 1),
        'slightly outside': ('0 -0.1 0.1 0.3 0.1 0.3 0.4 -0.1 0.4\n', 54, 0),
    }.values(),
)
def test_yolo__what_is_read_and_what_is_left_out(convert, folder, text, pixels, count):
    write(folder / 'labels/a.txt', text)
    found, printed = convert('yolo', 'labels', '--names', 'dog')
    assert found == [('dog', pixels)] and f'{count} broken and left out' in printed
    assert not count or 'labels/a.txt: line 2 ' in printed


@pytest.mark.parametrize(
    ('name', 'text', 'expected'),
    [
        ('a.yaml', 'names:\n' + ''.join(f"  '{n}': c{n}\n" for n in range(12)), [f'c{n}' for n in range(12)]),
        ('a.yaml', 'names: {1: cat, 0: dog}', ['dog', 'cat']),
        ('a.yaml', 'names: [dog, no, yes, on, 3, 1.0]', ['dog', 'no', 'yes', 'on', '3', '1.0']),
        ('a.yaml', b'\xef\xbb\xbfnames: [dog]', ['dog']),
        ('classes.txt', 'dog\r\ncat\r\n\r\n', ['dog', 'cat']),
        ('classes.txt', 'dog\ncat'.encode('utf-16'), ['dog', 'cat']),
    ],
)
def test_yolo__names(folder, name, text, expected):
    write(folder / name, text)
    assert yolo.read_yolo_names(folder / name) == expected


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('names: {0: dog, 5: cat}', 'none of class 1'),
        ('names: {a: dog}', 'not a whole number'),
        ('names: {0: dog, 0.0: cat}', 'twice'),
        ('names: [dog, dog]', "has the name 'dog' twice"),
        ('names: [[dog]]', 'neither a list of names'),
        ('names: dog', 'neither a list of names'),
        ('names: []', 'has no "names"'),
        ('- names', 'has no "names"'),
        ('names: [dog', 'is not valid YAML'),
        ('a: &a [x]\nnames: ' + '[' * 3000, 'is not valid YAML'),
        (b'names: [\xff\xfe]', 'is not text in UTF-8'),
    ],
)
def test_yolo__names_that_are_none(folder, text, words):
    write(folder / 'a.yaml', text)
    with pytest.raises(UserError) as error:
        yolo.read_yolo_names(folder / 'a.yaml')
    assert words in str(error.value) and 'a.yaml' in str(error.value)


def test_yolo__text_files_that_fit_no_photo(convert, folder):
    write(folder / 'labels/b.txt', YOLO)
    assert 'No photo of photos has a text file in labels, such as labels/a.txt' in convert(
        'yolo', 'labels', '--names', 'dog', status=2
    )
    write(folder / 'labels/a.txt', YOLO)
    write(folder / 'labels/classes.txt', 'dog')
    _, printed = convert('yolo', 'labels', '--names', 'labels/classes.txt')
    assert '1 of 2 text files in labels are of no photo, such as b.txt' in printed


@pytest.mark.parametrize('form', ['grey', 'equal channels', 'alpha', 'grey alpha', '16 bits', '16 bits RGB', 'palette'])
def test_semantic__one_channel_in_every_form(convert, folder, form):
    values = np.zeros(SIZE, np.uint8)
    values[:, 15:] = 3
    path = folder / 'masks/a.png'
    path.parent.mkdir()
    if form == 'palette':
        picture = Image.fromarray(values, 'P')
        picture.putpalette([9, 200, 30] * 256)
        picture.save(path)
    elif form == 'grey alpha':
        Image.fromarray(values).convert('LA').save(path)
    else:
        deep = values.astype(np.uint16 if '16' in form else np.uint8)
        planes = {'equal channels': [deep] * 3, 'alpha': [deep] * 3 + [deep * 0 + 9], '16 bits RGB': [deep] * 3}
        assert cv2.imwrite(str(path), np.dstack(planes[form]) if form in planes else deep)
    write(folder / 'x.json', coco({}))
    found, _ = convert('coco', 'x.json', '--semantic', 'masks', '--stuff', 'sky=0', 'lawn=3')
    assert found == [('sky', 300 - 36), ('lawn', 300), ('dog', 36)]


def packed(values, depth, sides=None):
    """A grey PNG of 1, 2 or 4 bits, which Pillow cannot write; its header may claim other ``sides``."""
    bits = ((values[..., None] >> np.arange(depth)[::-1]) & 1).reshape(len(values), -1).astype(np.uint8)
    rows = b''.join(b'\0' + np.packbits(row).tobytes() for row in bits)
    header = struct.pack('>IIBBBBB', *(sides or values.shape[::-1]), depth, 0, 0, 0, 0)
    chunks = [(b'IHDR', header), (b'IDAT', zlib.compress(rows)), (b'IEND', b'')]
    parts = [
        struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b'\x89PNG\r\n\x1a\n' + b''.join(parts)


@pytest.mark.parametrize('depth', [1, 2, 4])
def test_semantic__few_bits_are_the_stored_values(depth):
    values = np.arange(6 * 11).reshape(6, 11) % 2**depth
    assert (semantic_png.decode_values(packed(values, depth)) == values).all()


def test_semantic__a_small_file_of_many_pixels_is_not_decoded():
    huge = packed(np.zeros((1, 1), int), 1, (60_000, 60_000))
    for size in (None, SIZE):
        with pytest.raises(ValueError, match='60000x60000'):
            semantic_png.decode_values(huge, size)


def test_semantic__masks_of_0_and_255_are_told(convert, folder):
    values = np.zeros(SIZE, np.uint8)
    values[:, 15:] = 255
    png(folder / 'masks/a.png', values)
    write(folder / 'x.json', coco({}))
    arguments = ('coco', 'x.json', '--semantic', 'masks', '--stuff', 'sky=0')
    _, printed = convert(*arguments, 'lawn=1')
    assert 'No photo has a pixel of lawn' in printed and 'Ignored values cover 50%' in printed and 'NAME=255' in printed
    found, printed = convert(*arguments, 'lawn=255')
    assert found == [('sky', 300 - 36), ('lawn', 300), ('dog', 36)] and 'warning' not in printed


def voc_rgb(folder, labelmap='# label:color\nbackground:0,0,0::\ncat:128,0,0::\nlawn:0,128,0::\n'):
    classes, objects = np.zeros((*SIZE, 3), np.uint8), np.zeros((*SIZE, 3), np.uint8)
    classes[2:8, 2:8], classes[12:] = (128, 0, 0), (0, 128, 0)
    objects[2:8, 2:5], objects[2:8, 5:8] = (128, 0, 0), (0, 128, 0)
    png(folder / 'voc/SegmentationClass/a.png', classes)
    png(folder / 'voc/SegmentationObject/a.png', objects)
    if labelmap:
        write(folder / 'voc/labelmap.txt', labelmap)
    return classes


@pytest.mark.parametrize('arguments', ['--things cat=1 --stuff lawn=2', '--things cat --stuff lawn', '--stuff lawn'])
def test_voc__colours_of_cvat_and_datumaro(convert, folder, arguments):
    voc_rgb(folder)
    found, _ = convert('voc', 'voc', *arguments.split())
    assert found == [('lawn', 240), ('cat', 18), ('cat', 18)]
    found, _ = convert('voc', 'voc', *arguments.split(), '--rest', 'background')
    assert [name for name, _ in found] == ['lawn', 'background', 'cat', 'cat'] and found[1][1] == 600 - 240 - 36


def test_voc__colours_that_are_not_listed(convert, folder):
    voc_rgb(folder, 'background:0,0,0::\ncat:128,0,0::\n')
    assert 'pixels of the colour (0, 128, 0), which labelmap.txt does not list' in convert('voc', 'voc', status=2)
    for line, words in (('cat:1,2', 'not three numbers'), ('cat:1,2,300', 'from 0 to 255'), (':1,2,3', 'not a name')):
        write(folder / 'voc/labelmap.txt', f'background:0,0,0::\n{line}\n')
        message = convert('voc', 'voc', status=2)
        assert words in message and 'labelmap.txt: line 2' in message
    voc_rgb(folder)
    assert "'cat=2' contradicts" in convert('voc', 'voc', '--things', 'cat=2', '--stuff', 'lawn', status=2)


def test_voc__colours_of_its_own_palette_without_a_list(convert, folder):
    voc_rgb(folder, labelmap=None)
    found, _ = convert('voc', 'voc')
    assert found == [('bicycle*', 240), ('aeroplane', 18), ('aeroplane', 18)]


def test_voc__an_object_on_two_classes_is_left_out(convert, folder):
    objects, classes = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    objects[2:8, 2:8], classes[2:8, 2:8] = 1, 12
    objects[12:18, 2:8], classes[12:18, 2:5], classes[12:18, 5:8] = 2, 12, 15
    objects[12:18, 20:], classes[12:18, 20:] = 3, 7
    png(folder / 'voc/SegmentationClass/a.png', classes)
    png(folder / 'voc/SegmentationObject/a.png', objects)
    found, printed = convert('voc', 'voc', '--ignore', 'car')
    assert found == [('dog*', 18), ('person*', 18), ('dog', 36)]
    assert '1 broken and left out' in printed and 'object 2 lies on dog, person in' in printed
    assert '0 hidden' in printed


def test_instance_ids__kitti(convert, folder):
    values = np.full(SIZE, 7 * 256, np.uint16)
    values[:4, :10], values[:4, 10:20], values[:4, 20:], values[19] = 26 * 256 + 1, 26 * 256 + 2, 26 * 256, 0
    (folder / 'ids').mkdir()
    cv2.imwrite(str(folder / 'ids/a.png'), values)
    arguments = ('cityscapes-ids', 'ids', '--things', 'car=26', '--stuff', 'road=7')
    found, _ = convert(*arguments, '--divisor', '256')
    assert found == [('car*', 40), ('road', 450), ('car', 40), ('car', 40)]
    found, _ = convert(*arguments, '--divisor', '256', '--rest', 'nothing')
    assert ('nothing', 30) in found
    assert 'KITTI needs --divisor 256' in convert(*arguments, status=2)


def test_in_and_out__are_never_the_same(convert, folder):
    png(folder / 'out/panoptic_train/a.png', np.zeros(SIZE, np.uint8))
    write(folder / 'x.json', coco({}))
    message = convert('coco', 'x.json', '--semantic', 'out/panoptic_train', '--stuff', 'sky=0', status=2)
    assert 'out/panoptic_train/a.png would be read and written over' in message
    write(folder / 'out/panoptic_train.json', coco({}))
    assert 'would be read and written over' in convert('coco', 'out/panoptic_train.json', status=2)
    write(folder / 'out/a.json', labelme_json(shape(BOX)))
    assert 'is the folder of the annotations' in convert('labelme', 'out', '--things', 'dog', status=2)
    Image.new('RGB', (30, 20)).save(folder / 'out/a.jpg')
    assert 'is the folder of the photos' in convert('coco', 'x.json', images='out', status=2)
    assert 'no name of a split' in convert('coco', 'x.json', '--name', '../x', status=2)


AWKWARD = ["l'ete", 'a "b" c', 'back\\slash', 'new\nline', '{{x}} $y', "'''", '"""']


@pytest.mark.parametrize('name', AWKWARD)
def test_config__of_folders_with_awkward_names(folder, call_tool, name, monkeypatch):
    (folder / 'photos').rename(folder / name)
    write(folder / 'x.json', coco({}))
    config = folder / f'{name} out' / 'cfg.py'
    arguments = ['coco', 'x.json', '--images', name, '--out', f'{name} out', '--config-out', config]
    assert call_tool('dataset_converters/to_panoptic.py', *arguments) == 0
    values = {}
    exec(compile(config.read_text(), 'cfg', 'exec'), values)
    assert values['own']['data_root'] == f'{name} out/' and values['classes'] == ('dog',)
    assert values['train_dataloader']['dataset']['data_prefix']['img'] == f'../{name}/'
    if name == AWKWARD[0]:
        assert Config.fromfile(config).train_dataloader.dataset.data_root == f'{name} out/'


def test_recognition__any_file(folder):
    contents = [
        None, [], 3, 'x', {}, {'shapes': 3, 'imagePath': None},
        {'shapes': [1, {}, {'label': []}], 'imagePath': 'a' * 999},
        {'shapes': [{'label': 3}], 'imagePath': '\0'},
        {'images': 3, 'annotations': [], 'categories': {}},
        {'images': [1], 'annotations': 'x', 'categories': None},
        {'images': [{'file_name': 3}], 'annotations': [{'segmentation': 3}], 'categories': 3},
        {'images': [{'file_name': '\ud800'}], 'annotations': [{'segmentation': 3}], 'categories': 3},
        {'images': {'a': 1}, 'annotations': {'b': 1}, 'categories': 3}, b'\xff\xfe\x00', b'', '[' * 100_000, '{"a": ',
    ]  # fmt: skip
    for content in contents:
        write(folder / 'data/x.json', content)
        for data in (folder / 'data', folder / 'data/x.json', folder / 'nowhere'):
            command = conversion_command(data)
            assert command is None or command.startswith('python tools/dataset_converters/to_panoptic.py ')
    (folder / 'data/x.json').unlink()
    write(folder / 'data/a.json', labelme_json(shape(BOX), imagePath='../photos/a.jpg'))
    command = conversion_command(folder / 'data')
    assert 'labelme' in command and '--things dog' in command and f'--images {folder}/data/../photos' in command


def held(journal, ready, end):
    with hold_journal(journal, []):
        ready.set()
        end.wait()


def test_list__in_any_encoding_and_never_empty(convert, folder):
    write(folder / 'x.json', coco({}))
    write(folder / 'train.txt', 'a\r\n'.encode('utf-16'))
    assert convert('coco', 'x.json', '--list', 'train.txt')[0] == [('dog', 36)]
    write(folder / 'train.txt', '\n')
    assert 'list of photos is empty' in convert('coco', 'x.json', '--list', 'train.txt', status=2)


def test_lock__a_second_run_is_refused_and_a_killed_one_leaves_nothing(folder, monkeypatch):
    monkeypatch.setattr(parallel, 'WAIT', 0.3)
    write(folder / 'labels/a.json', labelme_json(shape(BOX)))
    source = LabelmeFormat(folder / 'labels', folder / 'photos', ['dog'], [])
    arguments = (source, folder / 'photos', folder / 'out', 'train')
    context = multiprocessing.get_context('fork')
    ready, end = context.Event(), context.Event()
    journal = folder / 'out/.panoptic_train.journal'
    other = context.Process(target=held, args=(journal, ready, end))
    other.start()
    assert ready.wait(60)
    with pytest.raises(UserError, match='Another run writes the files of panoptic_train'):
        write_panoptic(*arguments)
    write_panoptic(*arguments[:3], 'val')
    os.kill(other.pid, signal.SIGKILL)
    other.join()
    write(folder / 'out/panoptic_train/.a.png.part', b'half')
    write(folder / 'out/.panoptic_train.4711.json', b'half')
    assert write_panoptic(*arguments).segments == 1
    names = {path.relative_to(folder / 'out').as_posix() for path in (folder / 'out').rglob('*') if path.is_file()}
    assert names == {f'panoptic_{split}{end}' for split in ('train', 'val') for end in ('.json', '/a.png')}


def test_lock__a_run_that_waits_gets_it(folder, wait_for):
    context = multiprocessing.get_context('fork')
    ready, end = context.Event(), context.Event()
    journal = folder / '.x.journal'
    other = context.Process(target=held, args=(journal, ready, end))
    other.start()
    assert ready.wait(60)
    end.set()  # It removes the journal, which this run may have opened already.
    with hold_journal(journal, []):
        assert journal.is_file()
    other.join()
    assert other.exitcode == 0 and not journal.exists()


def test_lock__a_file_system_without_locks(folder, monkeypatch):
    def refuse(file, how):
        raise OSError(95, 'Operation not supported')

    monkeypatch.setattr(parallel.fcntl, 'flock', refuse)
    with hold_journal(folder / '.x.journal', []):
        pass
    monkeypatch.setattr(parallel, 'fcntl', None)
    with hold_journal(folder / '.x.journal', []):
        pass


@pytest.mark.parametrize(
    ('kind', 'module', 'name', 'files'),
    [
        ('labelme', labelme, '_shape', {'in/a.json': labelme_json(shape(BOX))}),
        ('yolo', yolo, '_outline', {'in/a.txt': YOLO}),
        ('coco', coco_instances, '_read_object', {'in': coco({})}),
        ('cityscapes-ids', semantic_png, 'one_channel', {'in/a.png': packed(np.zeros(SIZE, int), 1)}),
    ],
)
@pytest.mark.parametrize('bug', [KeyError('bug'), TypeError('bug'), AttributeError('bug'), IndexError('bug')])
def test_a_bug_in_a_reader_keeps_its_traceback(folder, call_tool, monkeypatch, kind, module, name, files, bug):
    def planted(*args, **kwargs):
        raise bug

    monkeypatch.setattr(module, name, planted)
    for path, content in files.items():
        write(folder / path, content)
    more = {'labelme': ['--things', 'dog'], 'yolo': ['--names', 'dog'], 'cityscapes-ids': ['--stuff', 'x=1']}
    with pytest.raises(type(bug), match='bug'):
        call_tool(
            'dataset_converters/to_panoptic.py', kind, 'in', '--images', 'photos', '--out', 'out', *more.get(kind, [])
        )


def test_config__beside_a_json_of_another_tool(folder, call_tool, capsys):
    write(folder / 'x.json', coco({}))
    for content in ([], {'info': 'x', 'categories': []}, '{'):
        write(folder / 'out/panoptic_val.json', content)
        assert (
            call_tool('dataset_converters/to_panoptic.py', 'coco', 'x.json', '--images', 'photos', '--out', 'out') == 2
        )
        assert 'panoptic_val.json' in capsys.readouterr().err
