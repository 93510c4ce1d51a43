import errno
import os
import signal

import pytest

from mmseg_oneformer.engine import work_dir
from mmseg_oneformer.engine.work_dir import work_dir_lock
from mmseg_oneformer.errors import UserError


@pytest.fixture
def holder(tmp_path):
    """Process id of another training in ``tmp_path``, which holds the lock by now."""
    reader, writer = os.pipe()
    process = os.fork()
    if not process:
        with work_dir_lock(tmp_path):
            os.write(writer, b'.')
            signal.pause()
    os.read(reader, 1)
    yield process
    os.close(reader)
    os.close(writer)


def test_lock__second_run_is_refused_while_the_first_lives(holder, tmp_path):
    words = rf'Another training is running in .* \(process {holder} on'
    with pytest.raises(UserError, match=words), work_dir_lock(tmp_path):
        pass
    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)
    for _ in range(2):  # One run after the other.
        with work_dir_lock(tmp_path):
            assert (tmp_path / '.train.lock').read_text().startswith(f'process {os.getpid()} on ')


def test_lock__other_processes_of_one_run_do_not_lock(holder, tmp_path, monkeypatch):
    monkeypatch.setenv('RANK', '1')
    with work_dir_lock(tmp_path, 'pytorch'):
        pass
    with pytest.raises(UserError), work_dir_lock(tmp_path, 'none'):  # A variable that something else set.
        pass
    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)


@pytest.mark.parametrize('number', [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_lock__file_system_without_locks(tmp_path, monkeypatch, number):
    def unsupported(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(work_dir.fcntl, 'lockf', unsupported)
    with work_dir_lock(tmp_path):
        pass
