import os

import pytest
from mmengine.fileio import get_file_backend

from mmseg_oneformer.files import atomic_path, write_atomic


def test_atomic_path__a_failure_leaves_the_old_file(tmp_path):
    write_atomic(tmp_path / 'new/a.json', 'old')

    def fail():
        with atomic_path(tmp_path / 'new/a.json') as temporary:
            temporary.write_text('half')
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [path.name for path in (tmp_path / 'new').iterdir()] == ['a.json']
    assert (tmp_path / 'new/a.json').read_text() == 'old'


def test_library_backend__a_kill_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    backend = get_file_backend(str(tmp_path / 'iter_1.pth'))
    backend.put(b'old', str(tmp_path / 'iter_1.pth'))
    backend.put_text('text', tmp_path / 'a.txt')
    assert (tmp_path / 'a.txt').read_text() == 'text'

    def kill(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, 'fsync', kill)
    with pytest.raises(KeyboardInterrupt):
        backend.put(b'new', str(tmp_path / 'iter_1.pth'))
    assert (tmp_path / 'iter_1.pth').read_bytes() == b'old'
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.txt', 'iter_1.pth']
