"""PNGs of classes and objects: what is read, left out, told and refused."""

import cv2
import numpy as np
import pytest
from PIL import Image

from mmseg_oneformer.annotations import semantic_png
from tests.preparation.drawn import SIZE, coco, packed, png, write


@pytest.mark.parametrize('form', ['grey', 'equal channels', 'alpha', 'grey alpha', '16 bits', '16 bits RGB', 'palette'])
def test_semantic__one_channel_in_every_form(convert_one, folder, form):
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
    found, _ = convert_one('coco', 'x.json', '--semantic', 'masks', '--stuff', 'sky=0', 'lawn=3')
    assert found == [('sky', 300 - 36), ('lawn', 300), ('dog', 36)]


@pytest.mark.parametrize('depth', [1, 2, 4])
def test_semantic__few_bits_are_the_stored_values(depth):
    values = np.arange(6 * 11).reshape(6, 11) % 2**depth
    assert (semantic_png.decode_values(packed(values, depth)) == values).all()


def test_semantic__a_small_file_of_many_pixels_is_not_decoded():
    huge = packed(np.zeros((1, 1), int), 1, (60_000, 60_000))
    for size in (None, SIZE):
        with pytest.raises(ValueError, match='60000x60000'):
            semantic_png.decode_values(huge, size)


def test_semantic__masks_of_0_and_255_are_told(convert_one, folder):
    values = np.zeros(SIZE, np.uint8)
    values[:, 15:] = 255
    png(folder / 'masks/a.png', values)
    write(folder / 'x.json', coco({}))
    arguments = ('coco', 'x.json', '--semantic', 'masks', '--stuff', 'sky=0')
    _, printed = convert_one(*arguments, 'lawn=1')
    assert 'No photo has a pixel of lawn' in printed and 'Ignored values cover 50%' in printed and 'NAME=255' in printed
    found, printed = convert_one(*arguments, 'lawn=255')
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
def test_voc__colours_of_cvat_and_datumaro(convert_one, folder, arguments):
    voc_rgb(folder)
    found, _ = convert_one('voc', 'voc', *arguments.split())
    assert found == [('lawn', 240), ('cat', 18), ('cat', 18)]
    found, _ = convert_one('voc', 'voc', *arguments.split(), '--rest', 'background')
    assert [name for name, _ in found] == ['lawn', 'background', 'cat', 'cat'] and found[1][1] == 600 - 240 - 36


def test_voc__colours_that_are_not_listed(convert_one, folder):
    voc_rgb(folder, 'background:0,0,0::\ncat:128,0,0::\n')
    assert 'pixels of the colour (0, 128, 0), which labelmap.txt does not list' in convert_one('voc', 'voc', status=2)
    for line, words in (('cat:1,2', 'not three numbers'), ('cat:1,2,300', 'from 0 to 255'), (':1,2,3', 'not a name')):
        write(folder / 'voc/labelmap.txt', f'background:0,0,0::\n{line}\n')
        message = convert_one('voc', 'voc', status=2)
        assert words in message and 'labelmap.txt: line 2' in message
    voc_rgb(folder)
    assert "'cat=2' contradicts" in convert_one('voc', 'voc', '--things', 'cat=2', '--stuff', 'lawn', status=2)


def test_voc__colours_of_its_own_palette_without_a_list(convert_one, folder):
    voc_rgb(folder, labelmap=None)
    found, _ = convert_one('voc', 'voc')
    assert found == [('bicycle*', 240), ('aeroplane', 18), ('aeroplane', 18)]


def test_voc__an_object_on_two_classes_is_left_out(convert_one, folder):
    objects, classes = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    objects[2:8, 2:8], classes[2:8, 2:8] = 1, 12
    objects[12:18, 2:8], classes[12:18, 2:5], classes[12:18, 5:8] = 2, 12, 15
    objects[12:18, 20:], classes[12:18, 20:] = 3, 7
    png(folder / 'voc/SegmentationClass/a.png', classes)
    png(folder / 'voc/SegmentationObject/a.png', objects)
    found, printed = convert_one('voc', 'voc', '--ignore', 'car')
    assert found == [('dog*', 18), ('person*', 18), ('dog', 36)]
    assert '1 broken and left out' in printed and 'object 2 lies on dog, person in' in printed
    assert '0 hidden' in printed


def test_instance_ids__kitti(convert_one, folder):
    values = np.full(SIZE, 7 * 256, np.uint16)
    values[:4, :10], values[:4, 10:20], values[:4, 20:], values[19] = 26 * 256 + 1, 26 * 256 + 2, 26 * 256, 0
    (folder / 'ids').mkdir()
    cv2.imwrite(str(folder / 'ids/a.png'), values)
    arguments = ('cityscapes-ids', 'ids', '--things', 'car=26', '--stuff', 'road=7')
    found, _ = convert_one(*arguments, '--divisor', '256')
    assert found == [('car*', 40), ('road', 450), ('car', 40), ('car', 40)]
    found, _ = convert_one(*arguments, '--divisor', '256', '--rest', 'nothing')
    assert ('nothing', 30) in found
    assert 'KITTI needs --divisor 256' in convert_one(*arguments, status=2)
