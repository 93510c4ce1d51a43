"""Photos that strangers send: what is read is what OpenMMLab's loader reads, the rest is rejected in a sentence."""

import asyncio
import io
import struct
import zlib
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

from mmseg_oneformer.datasets.transforms.photo import LoadPhoto
from mmseg_oneformer.serving import uploads
from mmseg_oneformer.serving.uploads import DEFAULT_LIMITS, Limits, RequestError, Uploads

# Left half red, right half blue, and a green bar above: any swap of channels or sides shows.
RGB = np.zeros((40, 60, 3), np.uint8)
RGB[:, :30], RGB[:, 30:], RGB[:8] = (220, 20, 30), (20, 30, 220), (20, 200, 40)


def decode(data, limits):
    return uploads.decode(data, limits, LoadPhoto().decode)


def encoded(kind, image=None, **options):
    stream = io.BytesIO()
    (Image.fromarray(RGB) if image is None else image).save(stream, format=kind, **options)
    return stream.getvalue()


def png_chunk(kind, content):
    return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))


def png_bomb(width, height):
    """A PNG of a few bytes that says it is huge."""
    head = png_chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0))
    return b'\x89PNG\r\n\x1a\n' + head + png_chunk(b'IDAT', zlib.compress(b'\0')) + png_chunk(b'IEND', b'')


def sixteen_bit_png():
    return cv2.imencode('.png', cv2.cvtColor(RGB, cv2.COLOR_RGB2BGR).astype(np.uint16) * 257)[1].tobytes()


def animated(kind):
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    return encoded(kind, frames[0], save_all=True, append_images=frames[1:], duration=100)


def multi_picture():
    return encoded('MPO', Image.fromarray(RGB), save_all=True, append_images=[Image.fromarray(255 - RGB)], quality=95)


ACCEPTED = {
    'jpeg': lambda: encoded('JPEG', quality=95),
    'progressive jpeg': lambda: encoded('JPEG', quality=95, progressive=True),
    'cmyk jpeg': lambda: encoded('JPEG', Image.fromarray(RGB).convert('CMYK'), quality=95),
    'jpeg with a trailer': lambda: encoded('JPEG', quality=95) + b'trailer' * 900,
    'jpeg with a video behind it': lambda: encoded('JPEG', quality=95) + b'moov\xff\xd9\xff\xda' * 300,
    'jpeg with a small one inside': lambda: encoded('JPEG', quality=95, comment=encoded('JPEG', quality=10)),
    'two pictures in a jpeg': multi_picture,
    'png': lambda: encoded('PNG'),
    'palette png': lambda: encoded('PNG', Image.fromarray(RGB).quantize(16)),
    'png with alpha': lambda: encoded('PNG', Image.fromarray(np.dstack([RGB, np.full((40, 60), 128, np.uint8)]))),
    '16-bit png': sixteen_bit_png,
    'webp': lambda: encoded('WEBP', lossless=True),
    'bmp': lambda: encoded('BMP'),
    'tiff': lambda: encoded('TIFF'),
    'gif': lambda: encoded('GIF'),
    'animated gif': lambda: animated('GIF'),
    'animated webp': lambda: animated('WEBP'),
}


@pytest.mark.parametrize('kind', ACCEPTED)
def test_decode__colours_and_sides(kind):
    bgr = decode(ACCEPTED[kind](), DEFAULT_LIMITS)
    assert bgr.dtype == np.uint8 and bgr.shape == (40, 60, 3)
    assert np.abs(bgr[..., ::-1].astype(int) - RGB)[12:, 4:26].mean() < 25
    assert np.abs(bgr[..., ::-1].astype(int) - RGB)[12:, 34:56].mean() < 25
    assert np.abs(bgr[..., ::-1].astype(int) - RGB)[:4, 4:].mean() < 25


def test_decode__grey_has_three_equal_channels():
    bgr = decode(encoded('JPEG', Image.fromarray(RGB).convert('L')), DEFAULT_LIMITS)
    assert bgr.shape == (40, 60, 3) and (bgr == bgr[..., :1]).all()


@pytest.mark.parametrize('orientation', range(1, 9))
def test_decode__exif_orientation(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = Image.open(io.BytesIO(encoded('PNG')))
    from_pillow = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # Pillow's Transpose that turns it upright
    turned = photo if orientation == 1 else photo.transpose(Image.Transpose(from_pillow[orientation]))
    bgr = decode(encoded('JPEG', photo, exif=exif, quality=100, subsampling=0), DEFAULT_LIMITS)
    assert bgr.shape == np.asarray(turned).shape
    assert np.abs(bgr[..., ::-1].astype(int) - np.asarray(turned)).mean() < 4


def many_scans(count):
    """A JPEG whose last scan comes again and again: each is a few bytes, and a pass over all pixels."""
    whole = encoded('JPEG', progressive=True)
    scan, end = whole.rindex(b'\xff\xda'), whole.rindex(b'\xff\xd9')
    return whole[:end] + whole[scan:end] * count + whole[end:]


def huge_tile():
    """A TIFF of 16 x 16 pixels in a tile of 8192 x 8192."""
    longs = {256: 16, 257: 16, 258: 8, 259: 1, 262: 1, 277: 1, 322: 8192, 323: 8192, 324: 200, 325: 64}
    tags = b''.join(struct.pack('<HHII', tag, 4, 1, value) for tag, value in longs.items())
    return b'II*\0' + struct.pack('<IH', 8, len(longs)) + tags + bytes(300)


JPEG = encoded('JPEG', quality=95)
REJECTED = {
    'text': (b'a photo of a dog', 415),
    'one byte': (b'\xff', 415),
    'svg': (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 415),
    'postscript': (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', 415),
    'zeros': (bytes(5000), 415),
    'head of a jpeg': (JPEG[: len(JPEG) // 3], 400),
    'a jpeg cut in its pixels': (JPEG[: len(JPEG) * 4 // 5], 400),
    'a jpeg without its end': (JPEG[:-40], 400),
    'a second picture that is cut': (multi_picture()[:-40], 400),
    'a cut jpeg with a small one inside': (encoded('JPEG', quality=95, comment=JPEG)[:-40], 400),
    'a jpeg of a thousand scans': (many_scans(1000), 400),
    'a tiff with a huge tile': (huge_tile(), 413),
    'a png cut in its pixels': (encoded('PNG')[:120], 400),
    'a cut webp': (encoded('WEBP', lossless=True)[:60], 400),
    'png bomb': (png_bomb(60_000, 60_000), 413),
    'larger png bomb': (png_bomb(2**31 - 1, 2**31 - 1), 413),
    'png without pixels': (png_bomb(0, 7), 415),
    'png with too little data': (png_bomb(50, 50), 400),
}


@pytest.mark.parametrize('kind', REJECTED)
def test_decode__rejects(kind):
    data, status = REJECTED[kind]
    with pytest.raises(RequestError) as caught:
        decode(data, DEFAULT_LIMITS)
    assert caught.value.status == status, caught.value.reason
    assert caught.value.reason.endswith(('.', ' ')) and ';' in caught.value.reason


def test_decode__a_png_that_promises_gigabytes_gets_none(monkeypatch):
    monkeypatch.setattr(cv2, 'imdecode', None)  # takes as much memory as a chunk says it has
    whole = encoded('PNG')
    at = whole.index(b'IDAT') - 4
    with pytest.raises(RequestError, match='damaged or cut off'):
        decode(whole[:at] + b'\x7f\xff\xff\xff' + whole[at + 4 :], DEFAULT_LIMITS)


def test_decode__pixels_are_counted_before_they_are_read(monkeypatch):
    monkeypatch.setattr(cv2, 'imdecode', None)  # would raise a TypeError
    with pytest.raises(RequestError, match='60 x 40 pixels, at most 2399'):
        decode(encoded('PNG'), Limits(max_pixels=2399))


def test_decode__any_damage_is_an_error_or_a_photo():
    """Never another exception, and never another size than the header's, whatever bytes are flipped."""
    random = np.random.default_rng(0)
    for kind in ('jpeg', 'png', 'webp', 'gif', 'tiff', 'bmp'):
        whole = np.frombuffer(ACCEPTED[kind](), np.uint8)
        for _ in range(60):
            broken = whole.copy()
            broken[random.integers(len(broken), size=4)] = random.integers(256, size=4)
            try:
                assert decode(broken.tobytes(), Limits(max_pixels=10**6)).ndim == 3
            except RequestError as error:
                assert error.status in (400, 413, 415)


class Upload:
    """A request whose body comes when a test sends it; it is received at once, as far as it has come."""

    def __init__(self, all_of_them, **headers):
        self.parts = asyncio.Queue()
        request = SimpleNamespace(headers=headers, stream=self.stream)
        self.received = asyncio.create_task(all_of_them.receive(request))

    async def stream(self):
        while part := await self.parts.get():
            yield part

    async def send(self, part):
        self.parts.put_nowait(part)
        await asyncio.sleep(0)

    async def status(self):
        try:
            return await self.received
        except RequestError as error:
            return error.status, error.reason


def run(work):
    return asyncio.run(asyncio.wait_for(work, 60))


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(uploads, 'GRACE_SECONDS', 0.05)
    monkeypatch.setattr(uploads, 'YOUNG_SECONDS', 0.0)


def test_receive__a_slow_one_is_given_up(quick):
    async def main():
        some = Uploads(Limits(max_seconds=3600, min_rate=1000), 10**6)
        slow, fast = Upload(some), Upload(some)
        await slow.send(b'x')
        await fast.send(b'x' * 10**5)  # allows for more than a minute
        status = await slow.status()
        assert len(some) == 1
        await fast.send(b'')
        return status, len(await fast.status()), len(some)

    expected = (408, 'The photo did not arrive at 1 kB/s or more; send it again.')
    assert run(main()) == (expected, 10**5, 0)


def test_receive__late_is_late():
    async def main():
        late = Upload(Uploads(Limits(max_seconds=0.02), 10**6))
        await late.send(b'x' * 10**5)
        return await late.status()

    assert run(main()) == (408, 'The photo did not arrive within 0.02 s; send it again.')


def test_receive__the_slowest_makes_room(quick, monkeypatch):
    monkeypatch.setattr(uploads, 'GRACE_SECONDS', 3600.0)

    async def main():
        some = Uploads(Limits(max_seconds=3600, min_rate=1000, max_uploads=2), 10**7)
        fast, slow = Upload(some), Upload(some)
        await asyncio.sleep(0.01)
        await fast.send(b'x' * 10**6)
        await slow.send(b'x')
        newcomer = Upload(some)
        given_up = await slow.status()
        await newcomer.send(b'x' * 10**6)
        too_many = await Upload(some).status()
        for upload in (fast, newcomer):
            await upload.send(b'')
        return given_up[0], too_many, len(await fast.status()), len(await newcomer.status()), len(some)

    assert run(main()) == (408, (503, '2 uploads are in progress; try again in a moment.'), 10**6, 10**6, 0)


def test_receive__those_that_have_only_begun_stay():
    async def main():
        some = Uploads(Limits(max_uploads=1), 10**6)
        first = Upload(some)
        await first.send(b'x')
        rejected = await Upload(some).status()
        await first.send(b'')
        return rejected[0], await first.status()

    assert run(main()) == (503, b'x')


def test_receive__bytes_of_all_together():
    async def main():
        some = Uploads(DEFAULT_LIMITS, 1000)
        first, second = Upload(some), Upload(some)
        await first.send(b'x' * 600)
        await second.send(b'x' * 600)
        rejected = await second.status()
        await first.send(b'')
        return rejected, len(await first.status())

    assert run(main()) == ((503, 'Too many uploads; try again in a moment.'), 600)
