"""The shipped model and drawn photos, once for all tests that look into predictions."""

from types import SimpleNamespace

import pytest

from mmseg_oneformer.apis import OneFormerInferencer
from mmseg_oneformer.datasets.shapes import write_shapes
from mmseg_oneformer.photos.decoding import read_photo

SHIPPED = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'


@pytest.fixture(scope='session')
def shapes(tmp_path_factory):
    """Four drawn photos with their annotation: ``folder``, and the ``photos``."""
    folder = tmp_path_factory.mktemp('drawn') / 'shapes'
    write_shapes(folder, train=1, val=4, workers=1)
    return SimpleNamespace(folder=folder, photos=sorted((folder / 'val').glob('*.jpg')))


@pytest.fixture(scope='session')
def shipped():
    """The shipped model."""
    return OneFormerInferencer(SHIPPED, device='cpu')


@pytest.fixture(scope='session')
def photo(shapes):
    """One photo, (96, 96, 3) uint8 BGR."""
    return read_photo(shapes.photos[0])
