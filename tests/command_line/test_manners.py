import os
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.registry import DATASETS, METRICS

import mmseg_oneformer.datasets
import mmseg_oneformer.evaluation  # noqa: F401  (both register)
from mmseg_oneformer.command_line import cli_errors, describe_mistake, loading

IN_WORKER = """Caught ValueError in DataLoader worker process 1.
Original Traceback (most recent call last):
  File "x.py", line 3, in get
    raise ValueError('a.png is corrupt: get it again.')
ValueError: a.png is corrupt: get it again."""


@pytest.mark.parametrize(
    ('error', 'sentence'),
    [
        (ValueError('Wrong task.'), 'Wrong task.'),
        (ValueError(IN_WORKER), 'a.png is corrupt: get it again.'),
        (FileNotFoundError(2, 'No such file or directory', 'a.json'), 'No such file or directory: a.json.'),
        (FileNotFoundError('There is no a.json.'), 'There is no a.json.'),
        (ImportError('pip install x'), 'pip install x'),
        (KeyError('X is not in the mmdet::model registry. Please check'), 'X is not in the mmdet::model registry;'),
        (KeyError('name'), None),  # A bug, with its traceback.
        (TypeError('unexpected'), None),
        (RuntimeError('CUDA out of memory'), None),
        (AttributeError("'ConfigDict' object has no attribute 'head'"), 'the config has no "head"'),
        (AttributeError("'list' object has no attribute 'head'"), None),
    ],
)
def test_describe_mistake(error, sentence):
    described = describe_mistake(error)
    assert described is None if sentence is None else described.startswith(sentence)


@pytest.mark.parametrize(
    ('registry', 'config'),
    [
        (METRICS, {'type': 'PanopticQuality'}),
        (METRICS, {'type': 'MeanIoU'}),
        (DATASETS, {'type': 'CocoPanoptic', 'ann_file': 'a.json', 'pipeline': []}),
    ],
)
def test_describe_mistake__a_wrong_argument_in_a_config(registry, config):
    with pytest.raises(TypeError) as raised:
        registry.build({**config, 'misspelt': 1})
    sentence = describe_mistake(raised.value)
    assert "unexpected keyword argument 'misspelt'; check this part of the config" in sentence


def test_cli_errors__a_bug_keeps_its_traceback(monkeypatch):
    monkeypatch.delenv('ONEFORMER_TRACEBACK', raising=False)

    @cli_errors
    def main():
        raise RuntimeError('bug')

    with pytest.raises(RuntimeError, match='bug'):
        main()


def test_cli_errors__a_value_error_not_raised_on_purpose_is_a_bug(monkeypatch):
    monkeypatch.delenv('ONEFORMER_TRACEBACK', raising=False)

    @cli_errors
    def main(values):
        _one, _two = values
        if _two > 5:
            raise ValueError(
                'Two is too large; give a smaller one.',
            )

    with pytest.raises(ValueError, match='too many values to unpack'):
        main((1, 2, 3))
    with pytest.raises(SystemExit, match='2'):
        main((1, 6))


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
    assert (done.returncode, done.stderr) == (2, b'error: [Errno 28] No space left on device\n')


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
        (ImportError('mmdet is not installed; install it.'), 2, 'error: mmdet is not installed; install it.\n'),
    ],
)
def test_loading__ends_quietly(monkeypatch, capsys, error, status, sentence):
    monkeypatch.delenv('ONEFORMER_TRACEBACK', raising=False)
    with pytest.raises(SystemExit) as ended, loading('__main__', None):
        raise error
    assert ended.value.code == status and capsys.readouterr().err == sentence
