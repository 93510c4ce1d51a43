import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mmseg_oneformer.command_line import cli_errors, loading
from mmseg_oneformer.errors import MissingFileError, UserError
from mmseg_oneformer.files import write_atomic


class Broken(torch.utils.data.Dataset):
    """A data set that raises an error where there is one."""

    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 1

    def __getitem__(self, index):
        try:
            raise KeyError(index)
        except KeyError as error:
            raise self.error from error


def read_in_worker(error):
    next(iter(torch.utils.data.DataLoader(Broken(error), num_workers=1)))


def write_to_full_disk(folder):
    os.write(os.open('/dev/full', os.O_WRONLY), b'x')


MISTAKES = {
    'a user error': (lambda folder: _raise(UserError('Wrong task.')), 'Wrong task.'),
    'one of several lines': (lambda folder: _raise(UserError('a:\n  b;\n  c.')), 'a: b; c.'),
    'one of a file': (lambda folder: _raise(MissingFileError('There is no a.json.')), 'There is no a.json.'),
    'one from a worker': (lambda folder: read_in_worker(UserError('a.png is corrupt: get it again.')), 'a.png is corr'),
    'a kind of its own from a worker': (lambda folder: read_in_worker(MissingFileError('No a.png.')), 'No a.png.\n'),
    'no such file': (lambda folder: Path('a.json').read_text(), 'No such file or directory: a.json.'),
    'a folder': (lambda folder: write_atomic(folder, ''), f'{os.strerror(errno.EISDIR)}: '),
    'a full disk': (write_to_full_disk, 'No space left on device; free some.'),
    'a missing package': (lambda folder: __import__('no_such_package'), 'no_such_package is not installed; run: pip'),
}

BUGS = {
    'numpy': lambda: np.zeros(2) + np.zeros(3),
    'unpacking': lambda: dict([(1, 2, 3)]),
    'a key': lambda: {}['name'],
    'a key with blanks': lambda: {}['X is not in the mmdet::model registry. Please check'],
    'a raised ValueError': lambda: _raise(ValueError('on purpose')),
    'an attribute': lambda: _raise(AttributeError("'ConfigDict' object has no attribute 'head'")),
    'a type': lambda: len(3),
    'a file that is closed': lambda: os.write(99, b''),
    'a module of ours': lambda: __import__('mmseg_oneformer.nothing'),
    'a worker': lambda: read_in_worker(KeyError('name')),
}


def _raise(error):
    raise error


@pytest.fixture(autouse=True)
def no_tracebacks(monkeypatch):
    monkeypatch.delenv('ONEFORMER_TRACEBACK', raising=False)


@pytest.mark.parametrize('name', MISTAKES)
def test_cli_errors__a_mistake_is_a_sentence(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    fail, sentence = MISTAKES[name]
    with pytest.raises(SystemExit) as ended:
        cli_errors(lambda: fail(tmp_path))()
    printed = capsys.readouterr().err
    assert ended.value.code == 2 and printed.startswith(f'error: {sentence}') and printed.count('\n') == 1


@pytest.mark.parametrize('name', BUGS)
def test_cli_errors__a_bug_keeps_its_traceback(capsys, name):
    with pytest.raises(Exception) as raised:  # noqa: PT011
        cli_errors(BUGS[name])()
    assert not isinstance(raised.value, UserError) and capsys.readouterr().err == ''


def test_cli_errors__a_bug_ends_with_status_1():
    done = run('[][0]')
    assert done.returncode == 1 and done.stderr.endswith(b'IndexError: list index out of range\n')


def test_cli_errors__developers_see_the_traceback_of_a_mistake(monkeypatch):
    monkeypatch.setenv('ONEFORMER_TRACEBACK', '1')
    with pytest.raises(UserError):
        cli_errors(lambda: _raise(UserError('Wrong task.')))()


def run(code, **kwargs):
    """Run ``main`` of a script in a process of its own."""
    code = f'from mmseg_oneformer.command_line import cli_errors\n@cli_errors\ndef main():\n    {code}\nmain()'
    return subprocess.run([sys.executable, '-c', code], stderr=subprocess.PIPE, check=False, timeout=60, **kwargs)


@pytest.mark.parametrize('lines', [1, 100_000])
def test_cli_errors__a_reader_who_has_read_enough(lines):
    """What is still in the buffer at the end counts too: Python itself would print a traceback about it."""
    reader, writer = os.pipe()
    os.close(reader)
    done = run(f'for _ in range({lines}): print("answer")', stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b'')


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='needs /dev/full')
def test_cli_errors__a_full_disk_behind_stdout():
    with Path('/dev/full').open('w') as full:
        done = run('print("answer")', stdout=full)
    assert (done.returncode, done.stderr) == (2, b'error: No space left on device; free some.\n')


def test_cli_errors__stdout_may_be_closed():
    assert subprocess.run(['sh', '-c', f'exec "{sys.executable}" -c "{CLOSED}" >&-'], check=False).returncode == 3


CLOSED = 'import sys, mmseg_oneformer.command_line as c; print(1); c.cli_errors(lambda: sys.exit(3))()'


def test_loading__reads_the_command_line_first(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: True, raising=False)
    order = []
    with loading('__main__', lambda: order.append('arguments')):
        order.append(capsys.readouterr().err)
    assert order == ['arguments', 'Loading ...\n']


def test_loading__is_silent_in_a_log_and_in_all_processes_but_the_first(monkeypatch, capsys):
    with loading('__main__', None):
        pass
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: True, raising=False)
    monkeypatch.setenv('LOCAL_RANK', '1')
    with loading('__main__', None):
        pass
    assert capsys.readouterr().err == ''


def test_loading__does_nothing_for_a_module(monkeypatch, capsys):
    def parse_args():
        raise AssertionError

    with loading('tool', parse_args):
        pass
    with pytest.raises(KeyboardInterrupt), loading('tool', parse_args):
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ('error', 'status', 'sentence'),
    [
        (KeyboardInterrupt(), 130, 'interrupted\n'),
        (UserError('mmdet is not installed; install it.'), 2, 'error: mmdet is not installed; install it.\n'),
    ],
)
def test_loading__ends_quietly(capsys, error, status, sentence):
    with pytest.raises(SystemExit) as ended, loading('__main__', None):
        raise error
    assert ended.value.code == status and capsys.readouterr().err == sentence
