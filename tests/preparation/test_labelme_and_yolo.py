"""labelme and YOLO: what is read, left out, told and refused."""

import base64
import json

import cv2
import numpy as np
import pytest

from mmseg_oneformer.annotations import yolo
from mmseg_oneformer.errors import UserError
from tests.preparation.drawn import BOX, YOLO, labelme_json, shape, write


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
def test_labelme__forms_that_tools_write(convert_one, folder, content):
    write(folder / 'labels/a.json', content[1])
    found, printed = convert_one('labelme', 'labels', '--things', 'dog')
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
def test_labelme__a_broken_shape_is_left_out(convert_one, folder, broken, words):
    write(folder / 'labels/a.json', labelme_json(shape(BOX), broken))
    found, printed = convert_one('labelme', 'labels', '--things', 'dog')
    assert found == [('dog', 36)] and 'a.json: shape 2 (dog) ' in printed and words in printed
    assert words in convert_one('labelme', 'labels', '--things', 'dog', '--strict', status=2)


def test_labelme__a_mask_that_reaches_outside_is_cut(convert_one, folder):
    mask = mask_of(np.full((6, 6), 255, np.uint8))
    write(folder / 'labels/a.json', labelme_json(shape([[-2, -1], [3, 4]], 'mask', mask=mask)))
    assert convert_one('labelme', 'labels', '--things', 'dog')[0] == [('dog', 4 * 5)]
    write(folder / 'labels/a.json', labelme_json(shape([[27, 18], [33, 24]], 'mask', mask=mask)))
    assert convert_one('labelme', 'labels', '--things', 'dog')[0] == [('dog', 3 * 2)]


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
def test_labelme__structural_faults_stop(convert_one, folder, content, words):
    write(folder / 'labels/a.json', content)
    message = convert_one('labelme', 'labels', '--things', 'dog', status=2)
    assert words in message and 'labels/a.json' in message


def test_labelme__a_second_split_beside_the_first(convert_one, folder):
    write(folder / 'photos/a.json', labelme_json(shape(BOX)))
    call = ('labelme', 'photos', '--things', 'dog')
    convert_one(*call)
    (folder / 'out').rename(folder / 'photos/out')
    assert convert_one(*call)[0] == [('dog', 36)], 'the JSON of the first one is no labelme file'


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
def test_yolo__what_is_read_and_what_is_left_out(convert_one, folder, text, pixels, count):
    write(folder / 'labels/a.txt', text)
    found, printed = convert_one('yolo', 'labels', '--names', 'dog')
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
        ('names: {0: dog, 0: cat}', '0 is given twice'),
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


def test_yolo__a_blank_line_among_the_names_would_number_the_others_anew(folder):
    write(folder / 'classes.txt', 'dog\n\ncat\n\n')
    with pytest.raises(UserError, match=r'classes\.txt has no name on line 2'):
        yolo.read_yolo_names(folder / 'classes.txt')


def test_yolo__names_on_the_command_line_twice():
    with pytest.raises(UserError, match=r"--names has the name 'dog' twice"):
        yolo.check_names(['dog', 'cat', 'dog'], '--names')


def test_yolo__text_files_that_fit_no_photo(convert_one, folder):
    write(folder / 'labels/b.txt', YOLO)
    assert 'No photo of photos has a text file in labels, such as labels/a.txt' in convert_one(
        'yolo', 'labels', '--names', 'dog', status=2
    )
    write(folder / 'labels/a.txt', YOLO)
    write(folder / 'labels/classes.txt', 'dog')
    _, printed = convert_one('yolo', 'labels', '--names', 'labels/classes.txt')
    assert '1 of 2 text files in labels are of no photo, such as b.txt' in printed


def test_yolo__text_files_in_upper_case_are_told(convert_one, folder):
    write(folder / 'labels/a.txt', YOLO)
    write(folder / 'labels/b.TXT', YOLO)
    _, printed = convert_one('yolo', 'labels', '--names', 'dog')
    assert '1 of 2 text files in labels are of no photo, such as b.TXT' in printed


def test_yolo__a_name_with_what_stands_before_values(convert_one, folder):
    write(folder / 'labels/a.txt', YOLO)
    assert "--names has the category 'dog=3'" in convert_one('yolo', 'labels', '--names', 'dog=3', status=2)


def test_yolo__a_folder_is_no_name_of_a_class(convert_one, folder):
    write(folder / 'labels/a.txt', YOLO)
    assert 'Is a directory: labels' in convert_one('yolo', 'labels', '--names', 'labels', status=2)
