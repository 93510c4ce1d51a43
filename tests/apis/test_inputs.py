"""One photo in every form in which it may be handed in: the same pixels, the same predictions."""

import io
import struct
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from mmseg_oneformer.apis import OneFormerInferencer, urls
from mmseg_oneformer.apis.sources import collect_sources
from mmseg_oneformer.apis.urls import fetch_photo
from mmseg_oneformer.datasets.drawing import STUFF, THINGS, draw_scene
from mmseg_oneformer.errors import UserError

MODEL = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
ORIENTATION = 0x0112
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[::-1],
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: a.transpose(1, 0, 2)[:, ::-1],
}
"""How a camera that is held in one of the eight ways of EXIF stores an upright photo (EXIF 2.32, tag 0x0112): 6, for
example, has its first row on the right and its first column on top."""


@pytest.fixture(scope='module')
def scene():
    """A drawn photo (72, 96, 3) RGB and the class of each of its pixels."""
    drawn = draw_scene(96, np.random.default_rng(21))  # water that is taken for sky where red and blue are exchanged
    names = [*STUFF, *THINGS]
    of_segment = np.array([names.index(name) for name in drawn.names])
    labels = of_segment[drawn.segment_map - 1]
    return np.ascontiguousarray(drawn.image[12:84]), labels[12:84]


@pytest.fixture(scope='module')
def infer():
    return OneFormerInferencer(MODEL, device='cpu')


def as_file(rgb, orientation=1, form='PNG', **options):
    """Bytes of a photo as a camera held in this way stores it."""
    exif, stream = Image.Exif(), io.BytesIO()
    exif[ORIENTATION] = orientation
    Image.fromarray(np.ascontiguousarray(STORED[orientation](rgb))).save(stream, form, exif=exif, **options)
    return stream.getvalue()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):  # noqa: N802 (the library's name)
        status, headers, body = self.server.pages[self.path]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        for part in body if isinstance(body, list) else [body]:
            if isinstance(part, threading.Event):
                part.wait(60)
            else:
                self.wfile.write(part)

    def log_message(self, *args):
        pass


@pytest.fixture
def web():
    """A web server whose ``pages`` are (status, headers, body) by path."""
    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.pages = {}
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield SimpleNamespace(pages=server.pages, url=f'http://127.0.0.1:{server.server_port}')
    server.shutdown()
    server.server_close()


def mean_iou(labels, truth):
    pairs = ((labels == k, truth == k) for k in np.unique(truth))
    return np.mean([(one & other).sum() / (one | other).sum() for one, other in pairs])


def test_colours_and_orientation__one_prediction_in_every_form(infer, scene, web, tmp_path):
    """The golden picture: its drawing is the truth, so a wrong order or turn is seen in the score."""
    rgb, truth = scene
    web.pages |= {f'/{k}.png': (200, {}, as_file(rgb, k)) for k in STORED}
    given = []
    for k in STORED:
        (tmp_path / f'{k}.png').write_bytes(as_file(rgb, k))
        given += [tmp_path / f'{k}.png', Image.open(tmp_path / f'{k}.png'), f'{web.url}/{k}.png']
    predictions = infer(given, 'semantic', allow_private_urls=True, progress=False)
    predictions += infer([rgb, torch.from_numpy(rgb).permute(2, 0, 1)[None]], 'semantic', channel_order='rgb')
    bgr = np.ascontiguousarray(rgb[:, :, ::-1])
    floats = torch.from_numpy(bgr).permute(2, 0, 1)[None].expand(2, -1, -1, -1) / 255
    predictions += infer([bgr, floats], 'semantic', channel_order='bgr')
    assert len(predictions) == 3 * 8 + 2 + 3
    for prediction in predictions:
        assert np.array_equal(prediction.image, bgr), prediction.source
        assert np.array_equal(prediction.semantic, predictions[0].semantic), prediction.source
    assert mean_iou(predictions[0].semantic, truth) > 0.95
    swapped = infer(rgb, 'semantic', channel_order='bgr').semantic
    assert mean_iou(swapped, truth) < 0.5, 'the test is blind if the wrong order scores as well'


@pytest.mark.parametrize('form, options', [('JPEG', {'quality': 100, 'subsampling': 0}), ('WEBP', {'lossless': True})])
@pytest.mark.parametrize('orientation', STORED)
def test_orientation__of_other_formats(infer, scene, tmp_path, form, options, orientation):
    rgb, _ = scene
    path = tmp_path / f'photo.{form.lower()}'
    path.write_bytes(as_file(rgb, orientation, form, **options))
    (source,) = collect_sources(Image.open(path))
    of_file = infer._load(collect_sources(path)[0]).image
    assert np.array_equal(of_file, source.read())
    assert np.abs(of_file.astype(int) - rgb[:, :, ::-1]).max() <= (8 if form == 'JPEG' else 0)


@pytest.mark.parametrize('mode', ['L', 'RGBA', 'P', 'CMYK', '1', 'LA', 'YCbCr'])
def test_pillow__modes(mode):
    image = Image.new('RGB', (6, 4), (200, 40, 90)).convert(mode)
    (source,) = collect_sources(image)
    expected = np.asarray(image.convert('RGB'))[:, :, ::-1]
    assert np.array_equal(source.read(), expected) and source.name == 'image_0000'


def test_pillow__no_known_range_or_broken(tmp_path):
    for mode in ('F', 'I', 'I;16'):
        with pytest.raises(ValueError, match=f'mode {mode} has no known range'):
            collect_sources(Image.new(mode, (6, 4)))
    Image.new('RGB', (64, 64), 'red').save(tmp_path / 'whole.png')
    (tmp_path / 'cut.png').write_bytes((tmp_path / 'whole.png').read_bytes()[:90])
    (source,) = collect_sources(Image.open(tmp_path / 'cut.png'))
    with pytest.raises(ValueError, match=r'cut\.png cannot be read'):
        source.read()


def test_arrays__order_is_stated():
    color = np.zeros((4, 5, 3), np.uint8)
    for given in (color, np.zeros((4, 5, 4), np.uint8), torch.zeros(1, 3, 4, 5)):
        with pytest.raises(ValueError, match='give channel_order="rgb"'):
            collect_sources(given)
    with pytest.raises(ValueError, match="no channel_order 'gbr'"):
        collect_sources(color, 'gbr')
    assert collect_sources(color[:, :, 0])[0].read().shape == (4, 5, 3), 'grey has no order'
    assert collect_sources(np.dstack([color, color[:, :, 0]]), 'rgb')[0].read().shape == (4, 5, 3)


@pytest.mark.parametrize(
    'batch, sentence',
    [
        (torch.zeros(3, 4, 5), r'not 3x4x5.*tensor\[None\]'),
        (torch.zeros(1, 4, 5, 3), 'batch of images'),
        (torch.zeros(0, 3, 4, 5), 'not 0x3x4x5'),
        (torch.full((1, 3, 4, 5), 2.0), r'in 0\.\.1, not 2\.\.2; divide it by 255'),
        (torch.full((1, 3, 4, 5), -0.5), 'normalisation'),
        (torch.full((1, 3, 4, 5), torch.nan), 'not nan'),
        (torch.zeros(1, 3, 4, 5, dtype=torch.int64), 'not torch.int64'),
    ],
)
def test_tensors__what_is_not_clear_is_rejected(batch, sentence):
    with pytest.raises(ValueError, match=sentence):
        collect_sources(batch, 'rgb')


def test_tensors__values_and_names():
    batch = torch.stack([torch.full((3, 2, 2), 100 / 255), torch.full((3, 2, 2), 1.0)]).half()
    batch[0, 0] = 0
    first, second, third = collect_sources([batch, np.zeros((2, 2), np.uint8)], 'rgb')
    assert first.read()[0, 0].tolist() == [100, 100, 0] and second.read()[0, 0].tolist() == [255] * 3
    assert [source.name for source in (first, second, third)] == ['array_0000', 'array_0001', 'array_0002']


def test_patterns__photos_and_videos_that_match(tmp_path, monkeypatch):
    for name in ('b.jpg', 'a.PNG', 'notes.txt', 'deep/er/c.jpg', 'clip.mp4', 'odd[1].jpg'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b'x')
    monkeypatch.chdir(tmp_path)
    assert [item.file_name for item in collect_sources('*')] == ['a.PNG', 'b.jpg', 'clip.mp4', 'odd[1].jpg']
    assert [item.file_name for item in collect_sources('**/*.jpg')] == ['b.jpg', 'deep/er/c.jpg', 'odd[1].jpg']
    assert [item.file_name for item in collect_sources('odd[1].jpg')] == ['odd[1].jpg'], 'a file before a pattern'
    with pytest.raises(FileNotFoundError, match=r'matches \*\.webp'):
        collect_sources('*.webp')


def test_collect__a_dict_is_no_list_of_its_keys():
    with pytest.raises(UserError, match=r"\{'img': 'a\.jpg'\} is not an input"):
        collect_sources({'img': 'a.jpg'})


@pytest.mark.parametrize('item', [True, 1.5, None])
def test_inputs__of_no_use(item):
    with pytest.raises(ValueError, match='is not an input'):
        collect_sources([item])


# ---- addresses ------------------------------------------------------------------------------------------------------


def test_urls__only_if_asked_and_of_the_web(web, tmp_path):
    (tmp_path / 'photo.png').write_bytes(b'x')
    with pytest.raises(ValueError, match='allow_urls=True'):
        collect_sources(f'{web.url}/photo.png')
    for url in (f'file://{tmp_path}/photo.png', 'ftp://127.0.0.1/photo.png', 'data://x', 'http:///photo.png'):
        with pytest.raises(ValueError, match='only http and https'):
            collect_sources(url, allow_urls=True)
    with pytest.raises(UserError, match='is not a web address'):
        collect_sources('http://[bad/photo.png', allow_urls=True)


@pytest.mark.parametrize(
    'url, file_name',
    [
        ('https://a.org/x/street.jpg?size=big#top', 'street.jpg'),
        ('https://a.org/%2e%2e%2f%2e%2e%2fetc%2fpasswd', '_.._etc_passwd'),
        ('https://a.org/..', 'url_0000'),
        ('https://a.org', 'url_0000'),
    ],
)
def test_urls__names_are_no_paths(url, file_name):
    (source,) = collect_sources(url, allow_urls=True)
    assert source.file_name == file_name and '/' not in source.name


def test_urls__redirects_only_within_the_web(web, scene, tmp_path):
    secret = tmp_path / 'secret.png'
    secret.write_bytes(as_file(scene[0]))
    web.pages |= {
        '/photo': (200, {}, as_file(scene[0])),
        '/moved': (302, {'Location': '/photo'}, b''),
        '/file': (302, {'Location': f'file://{secret}'}, b''),
        '/ftp': (302, {'Location': 'ftp://127.0.0.1/photo'}, b''),
        '/loop': (302, {'Location': '/loop'}, b''),
    }
    assert fetch_photo(f'{web.url}/moved', True) == as_file(scene[0])
    with pytest.raises(ValueError, match='not allowed'):
        fetch_photo(f'{web.url}/file', True)
    with pytest.raises(ValueError, match='only http and https'):
        fetch_photo(f'{web.url}/ftp', True)
    with pytest.raises(ValueError, match='cannot be fetched'):
        fetch_photo(f'{web.url}/loop', True)
    handler = urls._NoDowngrade()
    request = urls.urllib.request.Request('https://a.org/photo')
    with pytest.raises(ValueError, match='from https to http'):
        handler.redirect_request(request, None, 302, 'Found', {}, 'http://a.org/photo')


def promising(png, side):
    """A PNG whose header says that it has ``side`` x ``side`` pixels."""
    header = png[12:16] + struct.pack('>II', side, side) + png[24:29]
    return png[:12] + header + struct.pack('>I', zlib.crc32(header)) + png[33:]


def test_urls__bounds(web, scene, infer):
    photo, never = as_file(scene[0]), threading.Event()
    web.pages |= {
        '/photo': (200, {}, photo),
        '/drip': (200, {}, [photo[:100], never, photo[100:]]),
        '/text': (200, {}, b'<html>not here</html>'),
        '/cut': (200, {}, photo[: len(photo) // 2]),
        '/short': (200, {'Content-Length': str(len(photo))}, photo[:50]),
        '/gone': (404, {}, b''),
        '/bomb': (200, {}, promising(photo, 30_000)),
        '/half.jpg': (200, {}, as_file(scene[0], form='JPEG')[:-200]),  # decoders make the rest grey
    }
    with pytest.raises(ValueError, match=r'more than 0\.001 MB'):
        fetch_photo(f'{web.url}/photo', True, max_bytes=1000)
    with pytest.raises(ValueError, match=r'within 0\.2 seconds'):
        fetch_photo(f'{web.url}/drip', True, seconds=0.2)
    never.set()
    for page, sentence in (('short', 'broke off'), ('gone', '404')):
        with pytest.raises(ValueError, match=sentence):
            fetch_photo(f'{web.url}/{page}', True)
    for page, sentence in (
        ('text', 'not an image'),
        ('cut', 'damaged'),
        ('half.jpg', 'damaged'),
        ('bomb', '30000 x 30000 pixels, more than 200000000'),
    ):
        with pytest.raises(ValueError, match=sentence):
            infer(f'{web.url}/{page}', allow_private_urls=True)


def test_urls__a_broken_one_is_left_out(infer, web, scene):
    web.pages |= {'/a.png': (200, {}, as_file(scene[0])), '/b.png': (404, {}, b'')}
    broken = []
    addresses = [f'{web.url}/b.png', f'{web.url}/a.png']
    predictions = infer.stream(
        addresses,
        'panoptic',
        allow_private_urls=True,
        progress=False,
        on_broken=lambda source, reason: broken.append(source),
    )
    assert [prediction.source.name for prediction in predictions] == ['a'] and [source.name for source in broken] == [
        'b'
    ]


@pytest.mark.parametrize('empty', [Image.new('RGB', (0, 5)), np.zeros((0, 5, 3), np.uint8), b''])
def test_inputs__an_empty_image_is_one_sentence(empty):
    with pytest.raises(ValueError, match=r'empty|no pixel|no bytes|has to be'):
        collect_sources(empty, 'rgb')[0].read()
