import importlib
import sys

import numpy as np
import pytest

from mmseg_oneformer.libraries.inferencers import AfterImport, ids_to_rgb


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A package of two modules that nobody has imported; its name."""
    package = tmp_path / 'some_library'
    package.mkdir()
    (package / '__init__.py').write_text('')
    for name in ('one', 'two'):
        (package / f'{name}.py').write_text('value = 1\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, 'meta_path', [*sys.meta_path])
    yield 'some_library'
    for name in [name for name in sys.modules if name.startswith('some_library')]:
        del sys.modules[name]


def double(module):
    module.value *= 2


def test_after_import__patches_once_when_the_module_comes(library):
    AfterImport({f'{library}.one': double}).install()
    assert not any(name.startswith(library) for name in sys.modules)
    assert importlib.import_module(f'{library}.one').value == 2
    assert importlib.import_module(f'{library}.one').value == 2
    assert importlib.import_module(f'{library}.two').value == 1


def test_after_import__patches_what_is_there_already(library):
    module = importlib.import_module(f'{library}.one')
    AfterImport({f'{library}.one': double}).install()
    assert module.value == importlib.import_module(f'{library}.one').value == 2


def test_after_import__a_module_that_does_not_exist(library):
    AfterImport({f'{library}.three': double}).install()
    with pytest.raises(ModuleNotFoundError, match='three'):
        importlib.import_module(f'{library}.three')


def test_ids_to_rgb__is_what_coco_stores():
    ids = np.array([[0, 255, 256, 1007], [65536, 16777215, 5 * 65536 + 3 * 256 + 1, 254]], np.int32)
    rgb = ids_to_rgb(ids)
    assert rgb.dtype == np.uint8
    assert np.array_equal(rgb.astype(int) @ (1, 256, 65536), ids)
    assert rgb[1, 2].tolist() == [1, 3, 5]
