"""The service as its users have it: ``tools/serve.py`` as a process, asked over real sockets."""

import base64
import http.client
import io
import json
import os
import re
import runpy
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import cv2
import jsonschema
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_api

from mmseg_oneformer.apis import OneFormerInferencer
from mmseg_oneformer.datasets.shapes import write_shapes
from mmseg_oneformer.serving.uploads import Limits

ROOT = Path(__file__).resolve().parents[2]
MODEL = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
MAX_WAITING = 24
SOON = 60  # seconds; what waits so long has failed


class Server:
    """A running ``tools/serve.py``."""

    def __init__(self, port, log):
        self.port, self.log = port, log

    def ask(self, method, path, body=None, headers=None):
        """Return status, content (JSON decoded) and headers of one request."""
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=SOON)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        kind = response.headers['content-type'] or ''
        return response.status, json.loads(content) if kind == 'application/json' else content, response.headers

    def predict(self, body, **query):
        return self.ask('POST', f'/predict?{urlencode(query, doseq=True)}', body)[:2]

    def health(self):
        return self.ask('GET', '/health')[1]

    def connect(self):
        return socket.create_connection(('127.0.0.1', self.port), timeout=SOON)

    def is_idle(self):
        health = self.health()
        return health['waiting'] == health['uploads'] == 0


@pytest.fixture(scope='module')
def server(tmp_path_factory):
    log = tmp_path_factory.mktemp('service') / 'log.txt'
    limits = ['--max-waiting', MAX_WAITING, '--max-seconds', 5, '--max-megabytes', 2, '--max-megapixels', 4]
    command = [sys.executable, ROOT / 'tools/serve.py', '--model', MODEL, '--device', 'cpu', '--port', 0, *limits]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    with (
        log.open('w') as stderr,
        subprocess.Popen(
            [*map(str, command), '--max-batch', '4'], stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment
        ) as process,
    ):
        line = process.stdout.readline()
        assert 'is served at' in line, log.read_text()
        yield Server(urlsplit(re.search(r'http://\S+', line).group()).port, log)
        process.terminate()
        assert process.wait(SOON) == 0


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Paths of drawn photos, JPEG, two of them larger than the others."""
    folder = tmp_path_factory.mktemp('photos')
    write_shapes(folder / 'shapes', train=1, val=8, seed=3, workers=1)
    paths = sorted((folder / 'shapes/val').glob('*.jpg'))
    for path, size in zip(paths, ((150, 110), (200, 300))):
        cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path)), size))
    return paths


@pytest.fixture(scope='module')
def expected(photos):
    """What the inferencer predicts, by path and token."""
    infer = OneFormerInferencer(MODEL, device='cpu')
    return {token: infer(photos, token=token, progress=False) for token in (None, 'semantic')}


def decode_png(text):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def assert_same_prediction(sent, result):
    """The three predictions of JSON and of a ``OneFormerResult``: same labels and masks, scores but for rounding."""
    assert (sent['height'], sent['width']) == result.size
    np.testing.assert_array_equal(decode_png(sent['semantic']['png']), result.semantic)
    areas = {one['name']: one['area'] for one in sent['semantic']['classes']}
    assert areas == {name: (result.semantic == k).sum() for k, name in enumerate(result.classes) if name in areas}
    assert sum(areas.values()) == result.semantic.size

    found = result.instances
    assert [one['name'] for one in sent['instance']] == found.names
    np.testing.assert_allclose([one['score'] for one in sent['instance']], found.scores, atol=1e-4)
    for one, mask in zip(sent['instance'], found.masks):
        np.testing.assert_array_equal(mask_api.decode(one['segmentation']), mask)

    colors = decode_png(sent['panoptic']['png']).astype(int)
    ids = colors[..., 0] + 256 * colors[..., 1] + 65536 * colors[..., 2]
    assert len(sent['panoptic']['segments_info']) == len(result.panoptic.segments)
    for one, segment in zip(sent['panoptic']['segments_info'], result.panoptic.segments):
        assert (one['name'], one['isthing']) == (segment.name, segment.is_thing)
        np.testing.assert_array_equal(ids == one['id'], result.panoptic.mask(segment))
    np.testing.assert_array_equal(ids == 0, result.panoptic.void)


@pytest.mark.parametrize('token', [None, 'semantic'])
def test_predict__equals_the_inferencer(server, photos, expected, token):
    query = {} if token is None else {'token': token}
    for path, result in list(zip(photos, expected[token]))[1:4]:
        status, sent = server.predict(path.read_bytes(), score_thr=0, **query)
        assert status == 200 and sent['model'] == MODEL
        keep = result.instances.masks.any((1, 2))  # COCO's form has no empty masks
        result.__dict__['instances'] = result.instances[np.flatnonzero(keep)]
        assert_same_prediction(sent, result)


def test_predict__sixteen_clients_at_once_get_their_own_predictions(server, photos, expected):
    """Sizes are mixed, and batches are of whoever came together: labels and masks do not depend on it."""
    before = server.health()
    alone = [server.predict(path.read_bytes(), score_thr=0.3)[1] for path in photos]

    def client(number):
        order = np.random.default_rng(number).permutation(len(photos))[:3]
        return [(k, server.predict(photos[k].read_bytes(), score_thr=0.3)) for k in order]

    with ThreadPoolExecutor(16) as pool:
        responses = [response for responses in pool.map(client, range(16)) for response in responses]
    assert len(responses) == 48
    for k, (status, sent) in responses:
        assert status == 200
        scores = [[one.pop('score') for one in response['instance']] for response in (sent, dict_copy(alone[k]))]
        np.testing.assert_allclose(*scores, atol=2e-4)
        assert sent['semantic'] == alone[k]['semantic']
        assert sent['panoptic']['png'] == alone[k]['panoptic']['png']
        assert [one['segmentation'] for one in sent['instance']] == [
            one['segmentation'] for one in alone[k]['instance']
        ]
    after = server.health()
    passes, photos_served = after['batches'] - before['batches'], after['photos'] - before['photos']
    assert photos_served == 48 + len(photos) and passes < photos_served, 'no client shared a pass'
    assert after['waiting'] == 0


def dict_copy(content):
    return json.loads(json.dumps(content))


def test_predict__only_what_was_asked_for(server, photos):
    status, sent = server.predict(photos[2].read_bytes(), tasks='panoptic')
    assert status == 200 and sent.keys() == {'model', 'width', 'height', 'panoptic'}
    _, all_instances = server.predict(photos[2].read_bytes(), tasks='instance', score_thr=0)
    _, sure = server.predict(photos[2].read_bytes(), tasks='instance')
    assert sure['instance'] == [one for one in all_instances['instance'] if one['score'] >= 0.5]
    assert 0 < len(sure['instance']) < len(all_instances['instance'])
    _, strict = server.predict(photos[2].read_bytes(), tasks='panoptic', object_mask_thr=1)
    assert strict['panoptic']['segments_info'] == [] and not decode_png(strict['panoptic']['png']).any()


@pytest.mark.parametrize(
    'tasks', ['panoptic,semantic', 'panoptic, semantic', 'panoptic semantic', ['panoptic', 'semantic']]
)
def test_predict__tasks_in_every_spelling(server, photos, tasks):
    status, sent = server.predict(photos[2].read_bytes(), tasks=tasks)
    assert status == 200 and sent.keys() == {'model', 'width', 'height', 'panoptic', 'semantic'}


@pytest.mark.parametrize(
    ('query', 'message'),
    [
        ({'tasks': 'panoptic,depth'}, "tasks is 'panoptic,depth': unknown task 'depth'; choose from semantic"),
        ({'tasks': ''}, 'no task was requested; choose from semantic'),
        ({'tasks': ','}, 'no task was requested'),
        ({'token': 'all'}, "token is 'all': Input should be 'semantic', 'instance' or 'panoptic'; see /docs"),
        ({'score_thr': '1.5'}, "score_thr is '1.5': Input should be less than or equal to 1"),
        ({'overlap_thr': 'nan'}, "overlap_thr is 'nan'"),
        ({'task': 'panoptic'}, "There is no parameter 'task'; there are tasks, score_thr, token,"),
    ],
)
def test_predict__wrong_parameters(server, photos, query, message):
    status, sent = server.predict(photos[0].read_bytes(), **query)
    assert status == 422 and sent.keys() == {'detail'} and message in sent['detail']


def photo_bytes(kind, shape=(30, 40, 3), **options):
    stream = io.BytesIO()
    Image.fromarray(np.full(shape, 90, np.uint8)).save(stream, format=kind, **options)
    return stream.getvalue()


def test_predict__what_is_no_photo_is_rejected_and_the_server_lives(server, photos):
    whole = photos[2].read_bytes()
    form = {'Content-Type': 'multipart/form-data; boundary=x'}
    for body, headers, status, message in (
        (b'', {}, 400, 'no body'),
        (b'hello', {}, 415, 'not a photo'),
        (whole[:-200], {}, 400, 'damaged or cut off'),
        (photo_bytes('PNG', (3000, 3000, 3)), {}, 413, '3000 x 3000 pixels, at most 4000000'),
        (b'--x\r\n\r\n' + whole, form, 415, 'is a form; send the photo itself'),
    ):
        response = server.ask('POST', '/predict', body, headers)
        assert response[0] == status and message in response[1]['detail']
    exif = Image.Exif()
    exif[0x0112] = 6
    assert server.predict(photo_bytes('JPEG', exif=exif))[1]['width'] == 30
    assert server.predict(photo_bytes('PNG', (1, 900, 3)))[1]['width'] == 900
    assert server.predict(whole)[0] == 200


def test_predict__too_many_bytes_are_rejected_before_and_while_they_arrive(server):
    with server.connect() as announced:  # not a byte of the body is sent
        announced.sendall(b'POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000001\r\n\r\n')
        assert announced.recv(4096).startswith(b'HTTP/1.1 413 ')
    pieces = (b'x' * 100_000 for _ in range(30))
    status, sent, _ = server.ask('POST', '/predict', pieces)  # in chunks, their number unknown
    assert status == 413 and sent == {'detail': 'The file has more than 2 MB; send a smaller one.'}
    status, _, _ = server.ask('POST', '/predict', b'x' * 5_000_000)  # a client that sends all before it reads
    assert status == 413


def half_an_upload(server, body=b'\xff\xd8'):
    connection = server.connect()
    connection.sendall(b'POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n' + body)
    return connection


def test_predict__an_upload_that_stops_is_given_up(server, wait_for):
    with half_an_upload(server) as slow, http.client.HTTPResponse(slow) as response:
        response.begin()
        status, sent = response.status, json.load(response)
    assert status == 408 and 'did not arrive within 5 s; send it again' in sent['detail']
    wait_for(server.is_idle)


def test_predict__who_leaves_amid_an_upload_has_a_line_in_the_log(server, wait_for):
    half_an_upload(server).close()
    wait_for(lambda: re.search(r' POST /predict 499 \d', server.log.read_text()))


@pytest.fixture
def patient(serve_page):
    """The same application in this process; it waits for uploads, and takes eight requests at once."""
    with serve_page(Limits(max_seconds=3600, min_rate=1e-6)) as served:
        yield Server(urlsplit(served.url).port, None)


def test_predict__too_many_at_once_are_told_to_come_back(patient, infer, photos, monkeypatch, wait_for):
    body, go_on, run = photos[2].read_bytes(), threading.Event(), infer.logits
    monkeypatch.setattr(infer, 'logits', lambda *args: go_on.wait(SOON) and run(*args))
    with ThreadPoolExecutor(8) as pool:
        served = [pool.submit(patient.predict, body) for _ in range(8)]
        wait_for(lambda: patient.health()['waiting'] == 8)
        status, sent, headers = patient.ask('POST', '/predict', body)
        assert status == 503 and headers['retry-after'] == '1'
        assert sent['detail'] == '8 requests are in progress; try again in a moment.'
        go_on.set()
        assert [response.result()[0] for response in served] == [200] * 8
    assert patient.predict(body)[0] == 200


def test_predict__uploads_keep_nobody_out(patient, photos, wait_for):
    """More than there may be requests, and all for ever."""
    uploads = [half_an_upload(patient) for _ in range(30)]
    wait_for(lambda: patient.health()['uploads'] == 30)
    assert patient.health()['waiting'] == 0
    assert patient.predict(photos[2].read_bytes())[0] == 200
    for upload in uploads:
        upload.close()  # amid an upload
    wait_for(patient.is_idle)


def test_predict__who_leaves_is_not_computed(patient, infer, photos, monkeypatch, wait_for):
    """While the network is busy with one photo, others come and leave: they drop out of the queue."""
    body, go_on, run = photos[1].read_bytes(), threading.Event(), infer.logits
    monkeypatch.setattr(infer, 'logits', lambda *args: go_on.wait(SOON) and run(*args))
    with ThreadPoolExecutor(1) as pool:
        staying = pool.submit(patient.predict, body)
        wait_for(lambda: patient.health()['photos'] == 1)
        for _ in range(3):
            with patient.connect() as leaving:
                leaving.sendall(
                    b'POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n' % len(body) + body
                )
                wait_for(lambda: patient.health()['waiting'] == 2)
            wait_for(lambda: patient.health()['waiting'] == 1)
        go_on.set()
        assert staying.result()[0] == 200
    assert patient.health()['photos'] == 1
    assert patient.predict(body)[0] == 200


def test_wrong_addresses__say_so(server):
    assert server.ask('GET', '/nothing')[:2] == (404, {'detail': 'There is nothing at /nothing; see /docs.'})
    status, sent, headers = server.ask('GET', '/predict')
    assert (status, headers['allow']) == (405, 'POST') and 'does not take GET' in sent['detail']
    assert server.ask('GET', '/health', headers={'Host': 'rebound.example'})[0] == 403
    assert server.ask('POST', '/predict', b'x', headers={'Origin': 'https://elsewhere.example'})[0] == 403


def test_bytes_that_are_no_http__do_not_harm(server, photos, wait_for):
    random = np.random.default_rng(0)
    request = b'POST /predict?tasks=panoptic HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nabcd'
    for number in range(60):
        broken = bytearray(request if number % 2 else random.integers(256, size=99, dtype=np.uint8).tobytes())
        broken[random.integers(len(broken))] = random.integers(256)
        with server.connect() as connection:
            connection.sendall(broken)
            connection.shutdown(socket.SHUT_WR)
            response = connection.recv(4096)
        assert not response or re.match(rb'HTTP/1.1 [24]\d\d ', response)
    wait_for(server.is_idle)
    assert server.predict(photos[2].read_bytes())[0] == 200


def test_openapi__is_true(server, photos):
    """What is sent is what the description says, by an independent validator."""
    api = server.ask('GET', '/openapi.json')[1]

    def check(path, method, status, content):
        response = api['paths'][path][method]['responses'][str(status)]
        schema = response['content']['application/json']['schema']
        jsonschema.Draft202012Validator({**schema, 'components': api['components']}).validate(content)

    closed = json.loads(json.dumps(api['components']['schemas']))
    for schema in closed.values():
        schema['additionalProperties'] = False  # so that a field that is not described is found
    api['components']['schemas'] = closed
    check('/predict', 'post', 200, server.predict(photos[2].read_bytes())[1])
    check('/predict', 'post', 200, server.predict(photos[2].read_bytes(), tasks='semantic')[1])
    check('/health', 'get', 200, server.health())
    check('/classes', 'get', 200, server.ask('GET', '/classes')[1])
    for status, query in ((415, {}), (422, {'tasks': 'x'})):
        response = server.predict(b'x', **query)
        assert response[0] == status
        check('/predict', 'post', status, response[1])
    assert api['paths']['/predict']['post']['responses'].keys() == {
        '200', '400', '408', '413', '415', '422', '500', '503',
    }  # fmt: skip
    assert 'HTTPValidationError' not in closed


def test_docs_page__describes_everything_and_loads_nothing_from_afar(server):
    status, page, headers = server.ask('GET', '/docs')
    page = page.decode()
    api = server.ask('GET', '/openapi.json')[1]
    words = {*api['paths'], *api['components']['schemas'], 'score_thr', 'object_mask_thr', '503', 'segments_info'}
    assert status == 200 and not [word for word in words if word not in page]
    links = re.findall(r'(?:src|href)="([^"#]+)"', page)
    assert set(links) == {'docs.css', 'openapi.json'} and '<script' not in page
    assert set(re.findall(r'href="#(\w+)"', page)) <= set(re.findall(r'id="(\w+)"', page))
    assert "default-src 'none'" in headers['content-security-policy']
    assert server.ask('GET', '/docs.css')[2]['content-type'].startswith('text/css')


def test_health__says_what_it_was_started_with(server):
    health = server.health()
    assert (health['model'], health['device'], health['max_batch'], health['max_waiting']) == (
        MODEL, 'cpu', 4, MAX_WAITING,
    )  # fmt: skip


def test_log__has_lines_and_no_tracebacks(server, wait_for):
    server.predict(b'secret', tasks='panoptic')
    line = r'127.0.0.1 POST /predict\?tasks=panoptic 415 \d+\.\d{3} s, 6 bytes in, \d+ out\n'
    wait_for(lambda: re.search(line, server.log.read_text()))
    text = server.log.read_text()
    assert 'Traceback' not in text and 'secret' not in text


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['--port', 70000], 'cannot be used'),
        (['--max-batch', 0], '--max-batch is 0; give 1 or more.'),
        (['--max-uploads', 0], '--max-uploads is 0; give 1 or more.'),
        (['--min-kilobytes-per-second', 0], '--min-kilobytes-per-second is 0.0; give more than 0.'),
        (['--max-megapixels', 0], '--max-megapixels is 0.0; give more than 0.'),
        (['--model', 'nonsense'], 'neither a config file nor the name of a model'),
    ],
)
def test_command__mistakes_end_in_a_sentence(call_tool, capsys, args, message):
    assert call_tool('serve.py', '--model', MODEL, '--port', 0, *args) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize('tool', ['serve.py', 'demo.py'])
def test_command__says_what_is_not_installed(tool, capsys, monkeypatch):
    for name in [name for name in sys.modules if name.startswith('mmseg_oneformer.serving')]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'fastapi', None)
    monkeypatch.setattr(sys, 'argv', [tool, '--model', MODEL])
    with pytest.raises(SystemExit, match='2'):
        runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')
    assert capsys.readouterr().err == "error: fastapi is not installed; run: pip install -e '.[serve]'\n"


def test_health__by_head_too(server):
    assert server.ask('HEAD', '/health')[:2] == (200, b'')
