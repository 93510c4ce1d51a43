"""Every reader of photos has the same pixels of every form, the same size, and the same opinion of what is none."""

import io

import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from PIL import Image

from mmseg_oneformer.apis.preprocessing import PhotoLoader
from mmseg_oneformer.apis.sources import collect_sources
from mmseg_oneformer.datasets.doctor.photos import Photo
from mmseg_oneformer.datasets.doctor.photos import read_photo as examine
from mmseg_oneformer.datasets.transforms.photo import LoadPhoto
from mmseg_oneformer.deploy import oneformer_numpy
from mmseg_oneformer.errors import UserError
from mmseg_oneformer.photos.header import photo_size
from mmseg_oneformer.serving.uploads import DEFAULT_LIMITS, RequestError, decode
from mmseg_oneformer.zoo.configs import read_config

from .forms import FORMS, LOSSY, NOT_BY_PILLOW, REJECTED, STRANGE


@pytest.fixture(scope='module')
def loader():
    return PhotoLoader(read_config('oneformer_r18-narrow_1xb16-6k_shapes-96x96'), 32)


@pytest.fixture
def path_of(tmp_path):
    def path_of(name, data):
        path = tmp_path / ('a.jpg' if name.endswith('.jpg') else 'a.photo')
        path.write_bytes(data)
        return path

    return path_of


def load(loader, given, order=None):
    (source,) = collect_sources(given, order)
    return loader(source).image[:, :, ::-1]


@pytest.mark.filterwarnings('error', 'ignore:Image .* holds several pictures', 'ignore:Image .* bands, of which')
@pytest.mark.parametrize('name', FORMS)
def test_forms__every_reader_has_the_same_pixels(name, path_of, loader):
    data, shown = FORMS[name]
    path = path_of(name, data)
    read = LoadPhoto()({'img_path': str(path)})['img'][:, :, ::-1]
    assert read.shape == shown.shape and read.dtype == np.uint8
    lossy = name.startswith(('jpeg', 'grey jpeg', 'cmyk jpeg', 'progressive', 'avif'))
    difference = np.abs(read.astype(int) - shown)
    assert difference.mean() < LOSSY if lossy else not difference.any()

    assert np.array_equal(load(loader, path), read)
    assert photo_size(path) == shown.shape[:2]
    for deep in (False, True):
        photo = examine(path, deep)
        assert isinstance(photo, Photo) and photo.size == shown.shape[:2]
    if name not in STRANGE:
        assert np.array_equal(load(loader, data), read)
        assert np.array_equal(decode(data, DEFAULT_LIMITS, loader.decode)[:, :, ::-1], read)
    if name not in NOT_BY_PILLOW:
        assert np.array_equal(oneformer_numpy.read_photo(path), read)
        opened = Image.open(io.BytesIO(data))
        if opened.mode[0] not in 'IF':
            assert np.array_equal(load(loader, opened), read)


@pytest.mark.parametrize('name', REJECTED)
def test_rejected__by_every_reader_in_a_sentence(name, path_of, loader):
    data, reason = REJECTED[name]
    path = path_of(name, data)
    with pytest.raises(UserError, match=reason) as raised:
        LoadPhoto()({'img_path': str(path)})
    assert str(path) in str(raised.value) and '\n' not in str(raised.value)
    for given in (path, data):
        with pytest.raises(UserError):
            load(loader, given)
    assert not isinstance(examine(path), Photo)
    with pytest.raises(RequestError):
        decode(data, DEFAULT_LIMITS, loader.decode)
    with pytest.raises(ValueError, match=r'\.'):
        oneformer_numpy.read_photo(path)


ORDINARY = [
    name
    for name in FORMS
    if 'png' in name or (name.startswith(('jpeg', 'grey jpeg', 'progressive')) and name != 'jpeg 2000')
    if '16-bit' not in name and 'behind its pixels' not in name
]  # fmt: skip


@pytest.mark.parametrize('name', ORDINARY)
def test_jpeg_and_png__the_bytes_of_mmcv(name, path_of):
    """Models were trained on these bytes."""
    path = path_of(name, FORMS[name][0])
    theirs = LoadImageFromFile()({'img_path': str(path)})['img']
    assert np.array_equal(LoadPhoto()({'img_path': str(path)})['img'], theirs)
