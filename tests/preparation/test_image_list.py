import json

import pytest
from PIL import Image

from mmseg_oneformer.errors import UserError
from mmseg_oneformer.preparation.image_list import image_list

CATEGORIES = [{'id': 7, 'name': 'road', 'isthing': 0}]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / 'panoptic_val.json'
    path.write_text(json.dumps({'images': [], 'annotations': [1], 'categories': CATEGORIES}))
    return path


def test_folder__names_in_subfolders(tmp_path, table):
    for name in ('bonn/bonn_000000_000001_leftImg8bit.png', 'aachen/aachen_000002_000003_leftImg8bit.png', 'a.txt'):
        path = tmp_path / 'test' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (40, 30)).save(path) if path.suffix == '.png' else path.touch()
    content = image_list(tmp_path / 'test', table)
    assert content['categories'] == CATEGORIES and 'annotations' not in content
    assert [image['id'] for image in content['images']] == ['aachen_000002_000003', 'bonn_000000_000001']
    expected = {'file_name': 'bonn/bonn_000000_000001_leftImg8bit.png', 'width': 40, 'height': 30}
    assert content['images'][1].items() >= expected.items()


def test_json__images_are_taken_over(tmp_path, table):
    images = [{'id': 1, 'file_name': '000000000001.jpg', 'height': 480, 'width': 640}]
    (tmp_path / 'image_info.json').write_text(
        json.dumps({'images': images, 'categories': [{'id': 1, 'name': 'person'}]})
    )
    assert image_list(tmp_path / 'image_info.json', table) == {'images': images, 'categories': CATEGORIES}


def test_mistakes_are_named(tmp_path, table):
    with pytest.raises(FileNotFoundError, match='check the path'):
        image_list(tmp_path / 'nowhere', table)
    with pytest.raises(ValueError, match='has no photos'):
        image_list(table, table)
    for folder in ('a', 'b'):
        (tmp_path / 'photos' / folder).mkdir(parents=True)
        Image.new('RGB', (4, 4)).save(tmp_path / 'photos' / folder / 'one.png')
    with pytest.raises(ValueError, match='rename one of them'):
        image_list(tmp_path / 'photos', table)
    table.write_text(json.dumps({'categories': [{'id': 1, 'name': 'person'}]}))
    with pytest.raises(ValueError, match='give a panoptic JSON'):
        image_list(tmp_path / 'photos', table)


@pytest.mark.parametrize(
    'text', ['[]', '3', '{"images": 3}', '{"images": [3]}', '{"images": ', '[' * 100_000, '\ud800']
)
def test_broken_jsons_are_named(tmp_path, table, text):
    path = tmp_path / 'broken.json'
    path.write_bytes(text.encode(errors='surrogatepass'))
    for source, categories in ((path, table), (table, path)):
        with pytest.raises(UserError, match=r'broken\.json|has no photos'):
            image_list(source, categories)


def test_folder__hidden_and_broken_files(tmp_path, table):
    (tmp_path / 'photos').mkdir()
    Image.new('RGB', (4, 4)).save(tmp_path / 'photos/a.png')
    (tmp_path / 'photos/._a.png').write_bytes(b'resource fork')
    assert [image['id'] for image in image_list(tmp_path / 'photos', table)['images']] == ['a']
    (tmp_path / 'photos/b.png').write_bytes(b'no picture')
    with pytest.raises(UserError, match=r'photos/b\.png cannot be decoded'):
        image_list(tmp_path / 'photos', table)
