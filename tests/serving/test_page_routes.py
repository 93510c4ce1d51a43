"""What the page requests of the server: predictions, files, limits. The page itself is tested in test_page.py."""

import io
import json
import zipfile

import cv2
import numpy as np
import pytest
from mmengine.config import ConfigDict
from PIL import Image

from mmseg_oneformer.apis.photo_logits import PhotoLogits
from mmseg_oneformer.datasets.drawing import draw_scene
from mmseg_oneformer.models.postprocess import PostProcessor
from mmseg_oneformer.serving.page_predictions import (
    MAX_PIXELS,
    _colors,
    _Found,
    _picked,
    page_picture,
    page_prediction,
    page_size,
)
from mmseg_oneformer.serving.photo_cache import PhotoCache
from mmseg_oneformer.tasks import TASKS
from mmseg_oneformer.visualization.colors import instance_color


@pytest.fixture(scope='module')
def server(serve_page):
    with serve_page() as server:
        yield server


@pytest.fixture(scope='module')
def photo(server, scene_png):
    return server.ask('/api/photos?name=garden.png', scene_png).body


def decode(runs, size):
    return np.repeat(runs[::2], runs[1::2]).reshape(size)


def names_of(response, size):
    """Class name of each pixel, by the prediction's first segment that covers it; '' for none."""
    names = np.array(['', *(segment['name'] for segment in response['segments'])], object)
    if 'runs' in response:
        return names[decode(response['runs'], size)]
    number = np.zeros(size, int)
    for k, segment in reversed(list(enumerate(response['segments'], start=1))):
        number[decode(segment['runs'], size) == 1] = k
    return names[number]


def expected_names(result, task):
    """The same from the typed result."""
    classes = np.array([*result.classes, ''], object)
    if task == 'semantic':
        return classes[result.semantic]
    if task == 'panoptic':
        return classes[result.panoptic.labels]
    labels = np.full(result.size, -1)
    for label, score, mask in reversed(
        list(zip(result.instances.labels, result.instances.scores, result.instances.masks))
    ):
        if score >= 0.05:
            labels[mask] = label
    return classes[labels]


@pytest.mark.parametrize('token', [None, *TASKS])
@pytest.mark.parametrize('task', TASKS)
def test_predictions__name_every_pixel_as_the_api_does(server, photo, looked_at, task, token):
    query = f'?token={token}' if token else ''
    response = server.ask(f'/api/photos/{photo["id"]}/predictions/{task}{query}').body
    expected = expected_names(looked_at.predict(task, token), task)
    assert (names_of(response, (72, 96)) == expected).all()
    assert len(np.unique(expected.astype(str))) > 1


def test_predictions__follow_thresholds_without_the_network(server, photo, looked_at, infer):
    passes = infer.passes
    for object_mask_thr, overlap_thr in ((0.0, 0.0), (0.9, 0.5), (1.0, 0.8)):
        path = f'predictions/panoptic?object_mask_thr={object_mask_thr}&overlap_thr={overlap_thr}'
        response = server.ask(f'/api/photos/{photo["id"]}/{path}').body
        result = looked_at.predict('panoptic', object_mask_thr=object_mask_thr, overlap_thr=overlap_thr)
        assert sorted(one['name'] for one in response['segments']) == sorted(
            one.name for one in result.panoptic.segments
        )
    assert not response['segments'] and infer.passes == passes


def test_predictions__colors_are_those_of_the_pictures_to_download(looked_at):
    """At full opacity a segment's colour on the page is the one that the drawn picture mixes in."""
    result = looked_at.predict(TASKS)
    drawn = result.plot('panoptic').astype(int)
    scale = drawn.shape[0] / 72
    response = page_prediction(result, 'panoptic')
    numbers = decode(response['runs'], (72, 96))
    photo = cv2.resize(result.image[:, :, ::-1], drawn.shape[1::-1], interpolation=cv2.INTER_CUBIC).astype(int)
    for number, segment in enumerate(response['segments'], start=1):
        inner = cv2.erode((numbers == number).astype(np.uint8), np.ones((7, 7)))
        rows, columns = (inner.nonzero()[axis][::5] for axis in (0, 1))
        at = (rows * scale + scale / 2).astype(int), (columns * scale + scale / 2).astype(int)
        # The picture is photo and colour mixed: what was added points from the photo to the colour.
        toward = np.array(segment['color']) - photo[at]
        moved = drawn[at] - photo[at]
        cosine = (toward * moved).sum(1) / (np.linalg.norm(toward, axis=1) * np.linalg.norm(moved, axis=1) + 1e-9)
        assert np.median(cosine) > 0.9, segment['name']


def test_predictions__things_have_their_shades_from_left_to_right():
    def thing(column, score):
        mask = np.zeros((4, 9), bool)
        mask[:, column] = True
        return _Found(0, True, score, mask)

    color = (200, 30, 60)
    found = [thing(6, 0.9), thing(3, 0.8), thing(0, 0.1)]  # the last one may be hidden by the slider
    assert _colors(found, [color]) == [instance_color(color, k) for k in (1, 0, 2)]


def test_predictions__large_photos_come_smaller(infer):
    big = cv2.resize(draw_scene(96, np.random.default_rng(4)).image, (1700, 1300))
    result = infer.logits([infer.prepare(big)])[0].predict('semantic')
    height, width = page_size((1300, 1700))
    assert height * width <= MAX_PIXELS and abs(width / height - 1700 / 1300) < 0.01
    names = names_of(page_prediction(result, 'semantic'), (height, width))
    sampled = cv2.resize(result.semantic.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    assert (names == np.array(result.classes, object)[sampled]).mean() > 0.99
    assert Image.open(io.BytesIO(page_picture(result.image))).size == (width, height)
    striped = np.zeros((1300, 1700, 3), np.uint8)
    striped[:, ::2] = 255
    drawn = np.array(Image.open(io.BytesIO(page_picture(striped))))
    assert ((drawn > 20) & (drawn < 235)).mean() > 0.5  # all pixels have a part in it
    rows, columns = _picked((1300, 1700))
    assert (rows[0, 0], rows[-1, 0], columns[0, 0], columns[0, -1]) == (0, 1299, 0, 1699)
    assert page_size((72, 96)) == (72, 96)


def test_picture__is_the_photo(server, photo, scene):
    content = server.ask(f'/api/photos/{photo["id"]}/picture').body
    assert (np.array(Image.open(io.BytesIO(content)))[:, :, ::-1] == scene).all()


def test_files__the_zip_has_all_and_they_are_the_apis(server, photo, looked_at):
    base = f'/api/photos/{photo["id"]}/files'
    response = server.ask(f'{base}/all?score_thr=0.3')
    assert "filename*=utf-8''garden.zip" in response.headers['Content-Disposition']
    archive, result = zipfile.ZipFile(io.BytesIO(response.body)), looked_at.predict(TASKS)
    exports = server.ask('/api/model').body['exports']
    names = [f'garden_{task}{one["suffix"]}' for one in exports for task in one['tasks']]
    assert sorted(archive.namelist()) == sorted(names) and len(set(names)) == 13 and archive.testzip() is None
    for one in exports:
        for task in one['tasks']:
            content = archive.read(f'garden_{task}{one["suffix"]}')
            single = server.ask(f'{base}/{task}/{one["form"]}?score_thr=0.3').body
            assert single == (json.loads(content) if isinstance(single, dict | list) else content)

    def picture(name):
        return np.array(Image.open(io.BytesIO(archive.read(name))))

    assert (picture('garden_semantic.png') == result.semantic).all()
    ids, annotation = result.to_coco_panoptic()
    assert (picture('garden_panoptic.png') == ids).all()
    coco = json.loads(archive.read('garden_panoptic.json'))
    assert coco['annotations'][0]['segments_info'] == annotation['segments_info']
    assert (
        coco['annotations'][0]['file_name'] == 'garden_panoptic.png' and coco['images'][0]['file_name'] == 'garden.png'
    )
    assert (coco['images'][0]['width'], coco['images'][0]['height']) == (96, 72)
    assert [one['name'] for one in coco['categories']] == list(result.classes)
    instances = json.loads(archive.read('garden_instance.json'))
    assert len(instances) == (result.instances.scores >= 0.3).sum() > 0
    assert json.loads(archive.read('garden_instance_labelme.json'))['imagePath'] == 'garden.png'


def test_files__follow_the_threshold(server, photo, looked_at):
    result = looked_at.predict(TASKS)

    def file(form, threshold):
        return server.ask(f'/api/photos/{photo["id"]}/files/instance/{form}?score_thr={threshold}').body

    for threshold in (0, 0.5, 1):
        assert file('labelme', threshold)['shapes'] == result.to_labelme('instance', threshold)['shapes']
        assert json.loads(file('geojson', threshold)) == result.to_geojson('instance', threshold)
        picture = np.array(Image.open(io.BytesIO(file('picture', threshold))))
        assert (picture == result.plot('instance', threshold)).all()
    assert len({len(result.to_labelme('instance', threshold)['shapes']) for threshold in (0, 0.5, 1)}) == 3
    # The page shows every segment, whatever the least score of instances.
    panoptic = server.ask(f'/api/photos/{photo["id"]}/files/panoptic/labelme?score_thr=1').body
    assert panoptic['shapes'] == result.to_labelme('panoptic')['shapes'] != []


@pytest.mark.parametrize(
    ('path', 'status'),
    [
        ('/predictions/panoptic?overlap_thr=2', 422),
        ('/predictions/everything', 422),
        ('/predictions/panoptic?token=none', 422),
        ('/files/semantic/coco-instances', 404),
        ('/files/semantic/..%2f..%2fapp.py', 404),
        ('/files/all?score_thr=nan', 422),
    ],
)
def test_questions__wrong_ones_are_rejected_in_a_sentence(server, photo, path, status):
    response = server.ask(f'/api/photos/{photo["id"]}{path}')
    assert response.status == status and response.body['detail'].endswith(('.', '?'))


def test_static__nothing_outside_of_the_page(server):
    for path in ('/../app.py', '/%2e%2e/app.py', '/..%2fapp.py', '//etc/passwd'):
        assert server.ask(path).status == 404
    page = server.ask('/')
    assert page.status == 200 and b'<script type="module" src="page.js">' in page.body
    assert b'style=' not in page.body and b'onclick' not in page.body
    assert "script-src 'self'" in page.headers['Content-Security-Policy']


def test_other_sites__cannot_ask(server, scene_png, infer):
    passes = infer.passes
    assert server.ask('/api/photos', scene_png, Origin='https://evil.example').status == 403
    assert server.ask('/api/model', Host='evil.example').status == 403
    assert server.ask('/predict', scene_png, Host='evil.example').status == 403
    assert infer.passes == passes


@pytest.mark.parametrize(
    ('given', 'kept'),
    [
        ('..%2f..%2fetc%2fpasswd', 'passwd'),
        ('C:%5Cphotos%5Ccat.jpg', 'cat'),
        ('%3Cimg%20src=x%3E.png', '_img src_x_'),
        ('', 'photo'),
        ('...', 'photo'),
        ('Gr%C3%BC%C3%9Fe.png', 'Grüße'),
        ('%E5%AD%97' * 80 + '.png', '字' * 52),  # names of files have 255 bytes
        ('a%0d%0ab.png', 'a__b'),
    ],
)
def test_names__of_strangers_are_made_harmless(server, scene_png, given, kept):
    photo = server.ask(f'/api/photos?name={given}', scene_png).body
    assert photo['name'] == kept
    response = server.ask(f'/api/photos/{photo["id"]}/files/semantic/labels')
    assert response.status == 200 and '\n' not in response.headers['Content-Disposition']


def fake_photo(height, width, storage=None):
    import torch

    logits = torch.zeros(3, 5, 4) if storage is None else storage
    return PhotoLogits(
        None, np.zeros((height, width, 3), np.uint8), type('Sizes', (), {'img_shape': (1, 1), 'ori_shape': (1, 1)}),
        TASKS, logits, logits, (1, 1), PostProcessor((), ConfigDict()), {},
    )  # fmt: skip


def test_kept_photos__are_bounded_in_bytes_and_the_last_asked_stay():
    kept = PhotoCache(max_bytes=3 * 10 * 10 * 3 + 1000)
    first, second, third = (kept.add(fake_photo(10, 10)) for _ in range(3))
    assert kept.nbytes == 3 * (300 + 3 * 5 * 4 * 4)
    assert kept.find(first) is not None
    large = kept.add(fake_photo(20, 15))
    assert kept.find(second) is None and kept.find(first) is not None and kept.find(large) is not None
    alone = kept.add(fake_photo(100, 100))
    assert kept.find(alone) is not None and kept.find(first) is None and kept.find(large) is None
    assert len({first, second, third, large, alone}) == 5 and min(map(len, (first, second))) >= 20


def test_kept_photos__count_what_a_view_keeps_alive():
    import torch

    batch = torch.zeros(4, 3, 5, 4)
    kept = PhotoCache(max_bytes=10**6)
    kept.add(fake_photo(1, 1, batch[0]))
    assert kept.nbytes == 3 + batch.nbytes


def test_forgotten__is_said(serve_page, scene_png):
    with serve_page(kept_bytes=1) as server:
        first = server.ask('/api/photos', scene_png).body['id']
        second = server.ask('/api/photos', scene_png).body['id']
        assert server.ask(f'/api/photos/{second}/predictions/semantic').status == 200
        response = server.ask(f'/api/photos/{first}/predictions/semantic')
        assert (response.status, response.body['detail']) == (
            404,
            'The server has forgotten this photo; send it again.',
        )
