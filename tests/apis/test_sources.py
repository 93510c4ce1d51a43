import io
from pathlib import Path

import pytest

from mmseg_oneformer.apis.sources import Source, _unique_names, collect_sources, is_one_photo
from mmseg_oneformer.errors import UserError
from mmseg_oneformer.photos.suffixes import photos_below


@pytest.mark.parametrize(
    'file_names, names',
    [
        (['a.jpg', 'b.jpg'], ['a', 'b']),
        (['x/a.jpg', 'y/a.jpg', 'y/b.jpg'], ['x_a', 'y_a', 'b']),
        (['a.jpg', 'a.png'], ['a_jpg', 'a_png']),
        (['a.jpg', 'A.jpg'], ['a_jpg', 'A_jpg-2']),
        (['a.jpg', 'a.jpg', 'a_jpg.png'], ['a_jpg', 'a_jpg-2', 'a_jpg-3']),
        (['x/a.jpg', 'y/a.jpg', 'x_a.jpg'], ['x_a_jpg', 'y_a', 'x_a_jpg-2']),
        # Names of files have 255 bytes, and more is put around these.
        ([f'{number}{"字" * 70}.jpg' for number in (1, 2)], ['字' * 52 + '_jpg', '字' * 52 + '_jpg-2']),
    ],
)
def test_unique_names__clashes(file_names, names):
    found = _unique_names(file_names)
    assert found == names
    assert len({name.lower() for name in found}) == len(found)


def test_collect_sources__home_and_relative_paths(tmp_path, monkeypatch):
    (tmp_path / 'deep').mkdir()
    for name in ('one.jpg', 'deep/two.jpg'):
        (tmp_path / name).write_bytes(b'x')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('HOME', str(tmp_path))
    sources = collect_sources(['one.jpg', '~/deep/two.jpg', Path('deep')])
    assert [source.file_name for source in sources] == ['one.jpg', 'deep/two.jpg', 'deep/two.jpg']
    assert [source.name for source in sources] == ['one', 'deep_two_jpg', 'deep_two_jpg-2']


@pytest.mark.parametrize('several', [False, True])
@pytest.mark.parametrize('kind', [io.BytesIO, lambda data: io.StringIO(str(data))])
def test_collect_sources__an_open_file_is_rejected_by_name(kind, several):
    file = kind(b'\x89PNG\n1\n2\n')
    with pytest.raises(UserError, match=f'{type(file).__name__} is an open file'):
        collect_sources([file] if several else file)


def test_collect_sources__a_view_of_bytes_is_one_photo_and_no_camera():
    view = memoryview(b'\x00\x01')
    (source,) = collect_sources(view)
    assert isinstance(source, Source) and source.read() == b'\x00\x01' and is_one_photo(view)


@pytest.mark.parametrize(
    ('nothing', 'said'),
    [
        (None, 'None is not an input'),
        (2.5, '2.5 is not an input'),
        ([], 'No input'),
        ('', 'An empty path'),
    ],
)
def test_collect_sources__nothing_to_predict(nothing, said):
    with pytest.raises(ValueError, match=said):
        collect_sources(nothing)


def test_collect_sources__a_name_that_begins_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('~photo.jpg').write_bytes(b'x')
    (source,) = collect_sources('~photo.jpg')
    assert source.file_name == '~photo.jpg' and is_one_photo('~photo.jpg')


@pytest.mark.parametrize(
    ('path', 'said'), [('p' * 5000, 'pppp cannot be opened: File name too long'), ('a\0b.jpg', 'does not exist')]
)
def test_collect_sources__what_no_path_can_be(path, said):
    assert not is_one_photo(path)
    with pytest.raises(UserError, match=said):
        collect_sources(path)


def test_folder__a_link_that_leads_nowhere_is_a_photo_that_cannot_be_read(tmp_path):
    (tmp_path / 'folder.jpg').mkdir()
    (tmp_path / 'lost.jpg').symlink_to(tmp_path / 'nowhere.jpg')
    assert [source.name for source in collect_sources(tmp_path)] == ['lost']
    assert photos_below(tmp_path) == [tmp_path / 'lost.jpg']
