import pytest

from mmseg_oneformer.engine.cli import cli_errors, describe_mistake

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


def test_cli_errors__a_bug_keeps_its_traceback(monkeypatch):
    monkeypatch.delenv('ONEFORMER_TRACEBACK', raising=False)

    @cli_errors
    def main():
        raise RuntimeError('bug')

    with pytest.raises(RuntimeError, match='bug'):
        main()


def test_cli_errors__a_value_error_that_nobody_raised_is_a_bug(monkeypatch):
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
