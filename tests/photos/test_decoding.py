"""16 bits, sizes, memory, damage, and which files are photos."""

import struct
import warnings
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from mmseg_oneformer.apis.sources import collect_sources
from mmseg_oneformer.datasets.doctor.photos import Photo
from mmseg_oneformer.datasets.doctor.photos import read_photo as examine
from mmseg_oneformer.datasets.transforms.photo import LoadPhoto, build_loader
from mmseg_oneformer.deploy import oneformer_numpy
from mmseg_oneformer.errors import MissingFileError, UserError
from mmseg_oneformer.photos import decoding
from mmseg_oneformer.photos.decoding import decode_photo, read_photo
from mmseg_oneformer.photos.errors import PhotoError
from mmseg_oneformer.photos.header import read_header
from mmseg_oneformer.photos.suffixes import photos_below
from mmseg_oneformer.preparation.image_list import image_list

from .forms import GREY, RGB, by_opencv, exif, saved, tiff


def png_of(width, height):
    """A PNG of a few bytes that says it has so many pixels; its chunks are whole."""

    def chunk(kind, content):
        return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))

    head = struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1 + width))
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + chunk(b'IDAT', pixels) + chunk(b'IEND', b'')


TWELVE = GREY.astype(np.uint16) * 16
"""12 bits in 16."""
PARTLY = {
    'grey png': saved('PNG', TWELVE),
    'colour png': by_opencv('.png', np.dstack([TWELVE] * 3)),
    'grey tiff': tiff(TWELVE[..., None], photometric=1),
    'colour tiff': tiff(np.dstack([TWELVE] * 3)),
    'colour tiff, turned': tiff(np.dstack([TWELVE] * 3), orientation=6),
    'signed tiff': tiff(TWELVE.astype(np.int16)[..., None], photometric=1, sample_format=2),
}


@pytest.mark.parametrize('name', PARTLY)
def test_bits__range_used_in_part_is_told_and_scaled_as_asked(name, tmp_path):
    path = tmp_path / 'photo'
    path.write_bytes(PARTLY[name])
    with pytest.warns(UserWarning, match=rf'{path} has 1[56] bits .* no value above {TWELVE.max()}.* bits=12'):
        dark = LoadPhoto()({'img_path': str(path)})['img']
    assert dark.max() == TWELVE.max() >> (7 if 'signed' in name else 8)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        light = LoadPhoto(bits=12)({'img_path': str(path)})['img']
    grey = np.rot90(GREY, -1) if 'turned' in name else GREY
    assert np.array_equal(light, np.repeat(grey[..., None], 3, axis=2))
    with pytest.warns(UserWarning, match='bits|dark') if 'colour' not in name else warnings.catch_warnings():
        assert np.array_equal(oneformer_numpy.read_photo(path), dark)
    if 'colour' in name:
        with pytest.raises(ValueError, match='save it with 8 bits'):
            oneformer_numpy.read_photo(path, 12)
    else:
        assert np.array_equal(oneformer_numpy.read_photo(path, 12), light)
    photo = examine(path)
    assert isinstance(photo, Photo) and 'no value above' in photo.findings[-1 if 'colour' in name else 0].text


def test_bits__the_rule_does_not_look_at_the_photo():
    """A dark photo of a set is as dark as it is beside the others."""
    light, dark = saved('PNG', TWELVE), saved('PNG', TWELVE // 8)
    pixels = [decode_photo(data, bits=12).pixels.max() for data in (light, dark)]
    assert pixels[1] == pixels[0] // 8
    assert any('become white' in note for note in decode_photo(light, bits=10).notes)


def test_bits__below_zero_is_black_and_told():
    photo = decode_photo(tiff((GREY.astype(np.int16) - 100)[..., None] * 128, photometric=1, sample_format=2))
    assert 'below 0 become black' in photo.notes[0]
    assert photo.pixels.min() == 0


@pytest.mark.parametrize('bits', [7, 17, 12.0, 'twelve'])
def test_bits__are_8_to_16(bits):
    with pytest.raises(UserError, match='whole number from 8 to 16'):
        LoadPhoto(bits=bits)


def test_warnings__once_of_a_kind(tmp_path):
    (tmp_path / 'a.png').write_bytes(saved('PNG', TWELVE))
    (tmp_path / 'b.png').write_bytes(saved('PNG', TWELVE // 2))
    load = LoadPhoto()
    with pytest.warns(UserWarning) as told:
        for name in 'aba':
            load({'img_path': str(tmp_path / f'{name}.png')})
    assert len(told) == 1


def test_size__190_megapixels_are_a_photo_like_others(tmp_path):
    path = tmp_path / 'ortho.png'
    path.write_bytes(png_of(20_000, 9_500))
    assert read_header(path).size == (9_500, 20_000)
    assert isinstance(examine(path), Photo)
    (tmp_path / 'categories.json').write_text('{"categories": [{"id": 1, "name": "a", "isthing": 1}]}')
    (image,) = image_list(tmp_path, tmp_path / 'categories.json')['images']
    assert (image['width'], image['height']) == (20_000, 9_500)
    bitmap = tmp_path / 'ortho.bmp'
    Image.new('1', (20_000, 9_500)).save(bitmap)
    limit = Image.MAX_IMAGE_PIXELS
    assert read_header(bitmap).pixels == 190_000_000
    assert limit == Image.MAX_IMAGE_PIXELS  # the user's own setting


def test_size__is_checked_before_decoding(tmp_path, monkeypatch):
    """A small file that says it has 1.2 gigapixels; not one of them is decoded."""
    data = png_of(40_000, 30_000)
    path = tmp_path / 'bomb.png'
    path.write_bytes(data)
    monkeypatch.setattr(cv2, 'imdecode', None)
    with pytest.raises(PhotoError, match='40000 x 30000 pixels, more than 30000000') as raised:
        decode_photo(data, max_pixels=30_000_000)
    assert raised.value.fault == 'large'
    monkeypatch.setattr(decoding, 'available_memory', lambda: 2_000_000_000)
    with pytest.raises(PhotoError, match=r'bomb\.png has 40000 x 30000 pixels, which take 8\.4 GB .* 2\.0 GB are free'):
        read_photo(path)


def test_decode__damage_of_every_kind_is_one_sentence(tmp_path):
    """Flipped bytes give a photo of the header's size or a PhotoError, and never a black rest without a word."""
    random = np.random.default_rng(0)
    accepted = 0
    for kind in ('JPEG', 'PNG', 'WEBP', 'TIFF', 'GIF', 'BMP', 'AVIF', 'JPEG2000'):
        whole = np.frombuffer(saved(kind), np.uint8)
        for number in range(40):
            broken = whole.copy()
            broken[random.integers(len(broken), size=3)] = random.integers(256, size=3)
            data = broken.tobytes() if number % 4 else broken.tobytes()[: random.integers(len(broken))]
            try:
                decoded = decode_photo(data, max_pixels=1_000_000 if number % 2 else None)
                assert decoded.pixels.shape == (*decoded.header.size, 3)
                accepted += 1
            except PhotoError as error:
                assert '\n' not in str(error)
    assert accepted > 60


def test_paths__that_are_no_files(tmp_path):
    with pytest.raises(MissingFileError, match=r'none\.jpg does not exist'):
        read_photo(tmp_path / 'none.jpg')
    with pytest.raises(UserError, match='is not an image file'):
        read_photo(tmp_path)


def test_loader__a_plain_loader_of_mmcv_is_ours():
    """Older configs and model files read photos as new ones do; what they ask for beyond that, they get."""
    assert isinstance(build_loader({'type': 'LoadImageFromFile'}), LoadPhoto)
    assert build_loader({'type': 'mmdet.LoadImageFromFile', 'backend_args': None}).backend_args is None
    assert not isinstance(build_loader({'type': 'LoadImageFromFile', 'to_float32': True}), LoadPhoto)
    assert build_loader({'type': 'LoadPhoto', 'bits': 12}).bits == 12
    assert build_loader({'type': 'ShortestEdge'}) is None


def test_folders__hidden_files_and_suffixes(tmp_path):
    names = ['b.JPG', 'a.avif', 'c.jfif', 'd.gif', 'e.jp2', 'in/f.tif']
    for name in [*names, '._b.JPG', '.DS_Store', '.hidden/x.jpg', 'notes.txt', 'in/.g.png', 'film.TS']:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.relative_to(tmp_path).as_posix() for path in photos_below(tmp_path)] == sorted(names)
    assert [source.path.name for source in collect_sources(tmp_path)] == sorted(
        name for name in names if '/' not in name
    )
    for name in ('a.3gp', 'a.TS', 'a.flv'):
        (tmp_path / name).touch()
        assert not hasattr(collect_sources(tmp_path / name)[0], 'read')  # a video


def test_xmp__does_not_turn():
    """Where there is no EXIF, Pillow goes by what an XMP text says; no other reader does."""
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    for kind in ('WEBP', 'TIFF', 'PNG', 'JPEG'):
        options = {'tiffinfo': {700: packet}} if kind == 'TIFF' else {'xmp': packet}
        assert decode_photo(saved(kind, **options)).pixels.shape == RGB.shape


def test_orientation__broken_exif_breaks_no_photo():
    for notes in (b'', b'Exif\0\0', exif(6)[:-3], exif(6).replace(b'MM', b'XX'), b'Exif\0\0II*\0\xff\xff\xff\xff'):
        assert decode_photo(saved('JPEG', exif=notes or b'no')).pixels.shape[2] == 3
