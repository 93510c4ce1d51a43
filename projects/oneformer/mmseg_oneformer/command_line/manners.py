"""Manners of the command line: a user's mistake ends in one sentence and exit status 2, a bug in a traceback."""

import functools
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

Main = TypeVar('Main', bound=Callable[..., Any])

TRACEBACK = 'ONEFORMER_TRACEBACK'
"""Environment variable (or ``--traceback``) for developers: mistakes show their traceback too."""


def cli_errors(main: Main) -> Main:
    """Decorate a tool's ``main``: a mistake is printed as ``error: <sentence>`` and the exit status is 2."""

    @functools.wraps(main)
    def run(*args: Any, **kwargs: Any) -> Any:
        with _manners():
            return main(*args, **kwargs)

    return run  # type: ignore[return-value]


@contextmanager
def loading(module: str, parse_args: Callable[[], object] | None) -> Iterator[None]:
    """Surround the slow imports of a tool: its command line is read first, and a terminal is told what it waits for.

    ``--help`` and misspelt flags are handled without them, and Ctrl-C among them is as quiet as later on.

    Args:
        module: ``__name__`` of the tool; imported as a module, it has no command line.
        parse_args: Reads ``sys.argv`` without the slow imports; None where that cannot be done.
    """
    if module != '__main__':
        yield
        return
    with _manners():
        if parse_args is not None:
            parse_args()
        if sys.stderr is not None and sys.stderr.isatty() and os.environ.get('LOCAL_RANK', '0') == '0':
            print('Loading ...', file=sys.stderr, flush=True)
        yield


@contextmanager
def _manners() -> Iterator[None]:
    try:
        try:
            yield
        finally:
            _flush()
    except BrokenPipeError:  # `| head` has read enough
        sys.exit(141)
    except Exception as error:
        sentence = describe_mistake(error)
        if sentence is None or os.environ.get(TRACEBACK, '0') not in ('', '0'):
            raise
        print(f'error: {sentence}', file=sys.stderr, flush=True)
        sys.exit(2)
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        sys.exit(130)


def _flush() -> None:
    """Write what was printed: where that fails, it fails here and not when Python ends."""
    if sys.stdout is None:  # closed by the shell
        return
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would try again, and show a traceback.
        raise


def describe_mistake(error: Exception) -> str | None:
    """Return one sentence for what a user did wrong, or None if ``error`` looks like a bug."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if 'in DataLoader worker process' in text:
        # The loader raises the worker's exception again, with the worker's traceback as its message.
        kind, _, sentence = text.strip().splitlines()[-1].partition(': ')
        known = {'ValueError': ValueError, 'FileNotFoundError': FileNotFoundError, 'OSError': OSError}
        return describe_mistake(known[kind](sentence)) if kind in known else None
    if isinstance(error, KeyError) and 'is not in the' in text:
        return f'{text.split(". ")[0]}; check the spelling of this `type` in the config.'
    if isinstance(error, KeyError):
        return text if ' ' in text else None
    if isinstance(error, OSError) and error.filename is not None:
        return f'{error.strerror}: {error.filename}.'
    if isinstance(error, TypeError):
        # A wrong argument in the config: the call that failed is the registry's own, or hands its arguments on.
        frames = traceback.extract_tb(error.__traceback__)
        while frames and (frames[-1].line or '').startswith('super().__init__('):
            frames.pop()
        raised_by_registry = bool(frames) and Path(frames[-1].filename).name == 'build_functions.py'
        return f'{text}; check this part of the config.' if raised_by_registry else None
    if isinstance(error, AttributeError):
        match = re.search(r"'(?:ConfigDict|Config)' object has no attribute '(\w+)'", text)
        return f'the config has no "{match.group(1)}", which this command needs.' if match else None
    if isinstance(error, ValueError | OSError | ImportError):
        # A ValueError that was not raised on purpose (arrays that do not fit, too many values to unpack) is a bug.
        frames = traceback.extract_tb(error.__traceback__)
        if type(error) is ValueError and frames and frames[-1].line and not frames[-1].line.startswith('raise'):
            return None
        return ' '.join(text.split()) or type(error).__name__
    return None
