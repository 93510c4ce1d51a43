"""Instance JSONs: what is read, left out, told and refused."""

import json
import unicodedata

import numpy as np
import pytest
from PIL import Image, features

from mmseg_oneformer.annotations.photo_names import find_photo, like_photo
from tests.preparation.drawn import SIZE, SQUARE, coco, png, write

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
def test_coco__a_broken_object_is_left_out_and_strict_stops(convert_one, folder, name):
    segmentation, words = BROKEN[name]
    write(folder / 'x.json', coco({}, {'segmentation': segmentation}))
    found, printed = convert_one('coco', 'x.json')
    assert found == [('dog', 36)]
    assert '1 broken and left out' in printed and 'x.json: annotation 2 ' in printed and words in printed
    assert (
        'x.json: annotation 2 ' in (message := convert_one('coco', 'x.json', '--strict', status=2)) and words in message
    )


def test_coco__nothing_left_is_an_error(convert_one, folder):
    write(folder / 'x.json', coco({'segmentation': []}, {'segmentation': [[1, 1]]}))
    message = convert_one('coco', 'x.json', status=2)
    assert 'all 2 are broken' in message and 'annotation 1' in message and 'annotation 2' in message
    assert not (folder / 'out/panoptic_train.json').exists()


def test_coco__good_outlines_beside_a_broken_one_stay(convert_one, folder):
    write(folder / 'x.json', coco({'segmentation': [SQUARE, [1, 1, 2, 2], [10, 10, 14, 10, 14, 14, 10, 14]]}))
    found, printed = convert_one('coco', 'x.json')
    assert found == [('dog', 36 + 16)] and '1 broken and left out' in printed


def test_coco__several_structural_faults_are_named_at_once(convert_one, folder):
    content = coco({'category_id': 9}, {'image_id': 4}, {'id': 'x'}, {'iscrowd': 7})
    write(folder / 'x.json', content)
    message = convert_one('coco', 'x.json', status=2)
    assert 'x.json has 4 faults' in message
    for words in ('annotation 1 has category 9', 'annotation 2 is of image 4', "annotation 'x'", '"iscrowd" that is 7'):
        assert words in message


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'images': [{'id': 1, 'file_name': 'a.jpg'}] * 2}, 'image id 1 appears twice'),
        ({'categories': [{'id': 1, 'name': 'dog'}, {'id': 1, 'name': 'cat'}]}, "appears twice ('dog' and 'cat')"),
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
def test_coco__structural_faults_stop(convert_one, folder, changes, words):
    write(folder / 'x.json', coco({}, **changes))
    assert words in convert_one('coco', 'x.json', status=2)


@pytest.mark.parametrize('name', ['photos\\a.jpg', 'photos/a.jpg', '1a2b3c4d-a.jpg', 'images/1a2b3c4d-a.jpg'])
def test_coco__names_as_other_tools_write_them(convert_one, folder, name):
    write(folder / 'x.json', coco({}, images=[{'id': 1, 'file_name': name, 'height': '20', 'width': '30'}]))
    assert convert_one('coco', 'x.json')[0] == [('dog', 36)]


@pytest.mark.parametrize('flag', [0, False, '0', 'false', None, 0.0])
def test_coco__no_crowd_in_any_spelling(convert_one, folder, flag):
    write(folder / 'x.json', coco({'iscrowd': flag}))
    assert convert_one('coco', 'x.json')[0] == [('dog', 36)]


def test_coco__crowds_are_told_and_can_be_objects(convert_one, folder):
    write(folder / 'x.json', coco({'iscrowd': 1}, {'iscrowd': 1, 'segmentation': [[10, 10, 14, 10, 14, 14, 10, 14]]}))
    found, printed = convert_one('coco', 'x.json')
    assert found == [('dog*', 36), ('dog*', 16)] and '2 of 2 of dog' in printed and '--crowds-are-objects' in printed
    found, printed = convert_one('coco', 'x.json', '--crowds-are-objects')
    assert found == [('dog', 36), ('dog', 16)] and 'crowds,' not in printed


def test_coco__the_root_category_of_roboflow_is_no_class(convert_one, folder):
    categories = [{'id': 0, 'name': 'pets', 'supercategory': 'none'}, {'id': 1, 'name': 'dog', 'supercategory': 'pets'}]
    write(folder / 'x.json', coco({}, categories=categories))
    _, printed = convert_one('coco', 'x.json')
    assert "category 'pets' is a group without objects" in printed
    content = json.loads((folder / 'out/panoptic_train.json').read_text())
    assert [category['name'] for category in content['categories']] == ['dog']


@pytest.mark.parametrize('group', [['pets'], {'a': 1}, 5, None])
def test_coco__a_group_that_is_no_text(convert_one, folder, group):
    write(folder / 'x.json', coco({}, categories=[{'id': 1, 'name': 'dog', 'supercategory': group}]))
    assert convert_one('coco', 'x.json')[0] == [('dog', 36)]


def test_coco__a_name_with_what_stands_before_values(convert_one, folder):
    write(folder / 'x.json', coco({}, categories=[{'id': 1, 'name': 'age=3'}]))
    assert "x.json has the category 'age=3'" in convert_one('coco', 'x.json', status=2)
    write(folder / 'x.json', coco({}))
    assert "'=3' has no name" in convert_one('coco', 'x.json', '--stuff', '=3', status=2)


@pytest.mark.parametrize(('stored', 'named'), [('NFC', 'NFD'), ('NFD', 'NFC')])
def test_find_photo__accents_as_another_file_system_encodes_them(tmp_path, stored, named):
    there = unicodedata.normalize(stored, 'é.jpg')
    Image.new('RGB', (3, 2)).save(tmp_path / there)
    assert find_photo(tmp_path, unicodedata.normalize(named, 'é.jpg')) == there
    assert f'but {tmp_path / there} does' in like_photo(tmp_path, unicodedata.normalize(named, 'É.jpg'))


def test_coco__things_and_ignore_are_heeded(convert_one, folder):
    categories = [{'id': 1, 'name': 'dog'}, {'id': 2, 'name': 'cat'}]
    far = {'category_id': 2, 'segmentation': [[10, 10, 14, 10, 14, 14, 10, 14]]}
    write(folder / 'x.json', coco({}, far, categories=categories))
    assert "has the category 'cat', which --things does not list" in convert_one(
        'coco', 'x.json', '--things', 'dog', status=2
    )
    assert 'did you mean "dog"' in convert_one('coco', 'x.json', '--things', 'dogg', status=2)
    found, _ = convert_one('coco', 'x.json', '--things', 'dog', '--ignore', 'cat', '--rest', 'floor')
    assert found == [('dog', 36), ('floor', 600 - 36 - 16)], 'what is ignored is void, and not rest'
    assert 'no class' in convert_one('coco', 'x.json', '--ignore', 'cat', 'dog', status=2)
    assert 'to --rest and to --ignore' in convert_one('coco', 'x.json', '--ignore', 'cat', '--rest', 'cat', status=2)
    assert "'dog' is given as thing and as stuff" in convert_one(
        'coco', 'x.json', '--things', 'dog=3', '--rest', 'dog', status=2
    )


def test_rest__void_of_the_semantic_map_stays_void(convert_one, folder):
    write(folder / 'x.json', coco({}))
    values = np.zeros(SIZE, np.uint8)
    values[:, 15:] = 255
    png(folder / 'masks/a.png', values)
    found, _ = convert_one('coco', 'x.json', '--semantic', 'masks', '--stuff', 'sky=0', '--rest', 'floor')
    assert found == [('sky', 300 - 36), ('dog', 36)]
    found, _ = convert_one('coco', 'x.json', '--semantic', 'masks', '--rest', 'sky', '--stuff', 'sky=0')
    assert found == [('sky', 300 - 36), ('dog', 36)]


def test_unused__photos_and_kinds_that_are_not_read_are_told(convert_one, folder):
    for name in ('b.JPG', 'c.gif', 'd.psd', '._a.jpg', 'note.txt'):
        Image.new('RGB', (30, 20)).save(folder / 'photos' / name, format='png')
    write(folder / 'x.json', coco({}))
    _, printed = convert_one('coco', 'x.json')
    assert (
        'without an annotation: b.JPG, c.gif.' in printed
        and 'unsupported format: d.psd' in printed
        and '._a' not in printed
    )


@pytest.mark.parametrize('stated', [{}, {'width': 20, 'height': 30}])
@pytest.mark.parametrize(('suffix', 'options'), [('tif', {}), ('avif', {'quality': 90})])
def test_coco__a_turned_photo_has_the_size_that_is_shown(convert_one, folder, suffix, options, stated):
    if not features.check('avif') and suffix == 'avif':
        pytest.skip('this Pillow has no AVIF')
    notes = Image.Exif()
    notes[0x112] = 6  # A quarter turn: stored as 30x20, shown as 20x30.
    (folder / 'photos/a.jpg').unlink()
    Image.new('RGB', SIZE[::-1]).save(folder / f'photos/a.{suffix}', exif=notes, **options)
    content = coco({})
    content['images'][0] = {'id': content['images'][0]['id'], 'file_name': f'a.{suffix}', **stated}
    write(folder / 'x.json', content)
    convert_one('coco', 'x.json')
    with Image.open(folder / 'out/panoptic_train/a.png') as picture:
        assert picture.size == (20, 30)
