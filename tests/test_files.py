import os

import pytest
from mmengine.fileio import get_file_backend

from mmseg_oneformer.errors import UserError, WriteError
from mmseg_oneformer.files import atomic_path, check_folder, check_not_input, check_writable, shorten, write_atomic


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


def test_atomic_path__long_names_and_names_of_errors(tmp_path):
    name = '字' * 80 + '.json'
    write_atomic(tmp_path / name, 'new')
    assert [path.name for path in tmp_path.iterdir()] == [name]
    (tmp_path / 'a.json').mkdir()
    with pytest.raises(FileNotFoundError) as caught, atomic_path(tmp_path / 'b.json'):
        pass  # Nothing is written.
    assert caught.value.filename == str(tmp_path / 'b.json')


def test_shorten__cuts_bytes_at_the_border_of_a_character():
    assert shorten('a_0001') == 'a_0001'
    assert shorten('ä' * 80) == 'ä' * 80
    assert shorten('字' * 80) == '字' * 53
    assert shorten('x' * 200 + '_7') == 'x' * 158 + '_7'
    undecodable = 'caf\udce9'  # as Python reads the name of a file that is not UTF-8
    assert shorten(undecodable) == undecodable


def test_check_writable__says_before_the_work_what_writing_would_say(tmp_path, monkeypatch):
    check_writable(tmp_path / 'new/folder/a.json')
    (tmp_path / 'a.json').touch()
    check_writable(tmp_path / 'a.json')
    assert [path.name for path in tmp_path.iterdir()] == ['a.json']
    with pytest.raises(NotADirectoryError, match=r'a\.json/b'):
        check_writable(tmp_path / 'a.json/b')
    monkeypatch.setattr(os, 'access', lambda path, mode: path != tmp_path)  # root may write everywhere
    with pytest.raises(PermissionError, match=r'new/b\.json'):
        check_writable(tmp_path / 'new/b.json')


def test_check_not_input__only_files_that_exist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / 'hub'
    folder.mkdir()
    (folder / 'model.safetensors').write_bytes(b'x')
    (tmp_path / 'link.pth').symlink_to(folder / 'model.safetensors')
    check_not_input('new.pth', 'new.pth', folder, None, 'oneformer_r50', 'https://example.org/a.pth')
    check_not_input(folder / 'new.pth', folder)
    for path, source in (('hub/model.safetensors', folder), ('link.pth', 'hub/../hub/model.safetensors')):
        with pytest.raises(UserError, match=f'^{path} is an input, which is never written over'):
            check_not_input(path, None, source)


@pytest.mark.parametrize(
    ('tool', 'arguments'),
    [
        ('dataset_doctor.py', '{} --json {}'),
        ('dataset_doctor.py', '{} --json photo.jpg'),
        ('dataset_converters/image_list.py', 'photos --categories {} --out {}'),
        ('dataset_converters/image_list.py', 'photos --categories {} --out photo.jpg'),
        ('model_converters/convert.py', '{} {} --model {model} --to mm'),
        ('model_converters/publish_model.py', '{model} {} {}'),
        ('export.py', '{model} {} --format safetensors --out {}'),
    ],
)
def test_tools__never_write_over_their_input(tool, arguments, call_tool, tmp_path, capsys):
    name = 'x.safetensors' if 'model' in arguments else 'x.json'
    (tmp_path / 'photo.jpg').write_bytes(b'a photo')
    (tmp_path / name).write_bytes(b'an input')
    command = arguments.replace('{}', name).format(model='oneformer_r18-narrow_1xb16-6k_shapes-96x96').split()
    assert call_tool(tool, *command) == 2
    said = capsys.readouterr().err
    assert f'{name} is an input, which is never written over' in said or 'does not end in .json' in said
    assert (tmp_path / name).read_bytes() == b'an input' and (tmp_path / 'photo.jpg').read_bytes() == b'a photo'


def test_check_folder__says_what_is_in_the_way(tmp_path):
    check_folder(tmp_path / 'new/folder')
    assert not list(tmp_path.iterdir())
    (tmp_path / 'a.md').touch()
    for folder in ('a.md', 'a.md/b/c'):
        with pytest.raises(WriteError, match=r'a\.md is a file\); give another folder'):
            check_folder(tmp_path / folder)
