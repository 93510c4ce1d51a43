"""Error handling of the command line: a user's mistake ends in one sentence and exit status 2, a bug in a traceback.

Decisions:
* Only types tell them apart: a :class:`~..errors.UserError` is a mistake.
* So is an error of the operating system about a named file or a full disk: the environment is at fault, and the
  system's message states which part of it. It can happen at every write, so no single place could turn it into a
  sentence.
* So is a package that is not installed.
* Anything else is a bug.
"""

import errno
import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from ..errors import UserError

Main = TypeVar('Main', bound=Callable[..., Any])

TRACEBACK = 'ONEFORMER_TRACEBACK'
"""Environment variable (or ``--traceback``) for developers: mistakes also show their traceback."""


def cli_errors(main: Main) -> Main:
    """Decorate a tool's ``main``: a mistake is printed as ``error: <sentence>`` and the exit status is 2."""

    @functools.wraps(main)
    def run(*args: Any, **kwargs: Any) -> Any:
        with _manners():
            return main(*args, **kwargs)

    return run  # type: ignore[return-value]


@contextmanager
def loading(module: str, parse_args: Callable[[], object] | None) -> Iterator[None]:
    """Surround the slow imports of a tool: its command line is read first, and a terminal shows what is being loaded.

    ``--help`` and misspelt flags are handled without them, and Ctrl-C during them is as quiet as later.

    Args:
        module: ``__name__`` of the tool; imported as a module, it has no command line.
        parse_args: Reads ``sys.argv`` without the slow imports; None if that cannot be done.
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
    except (UserError, OSError, ModuleNotFoundError) as error:
        sentence = error.sentence if isinstance(error, UserError) else _refusal(error)
        if sentence is None or os.environ.get(TRACEBACK, '0') not in ('', '0'):
            raise
        print(f'error: {sentence}', file=sys.stderr, flush=True)
        sys.exit(2)
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        sys.exit(130)


def _refusal(error: OSError | ModuleNotFoundError) -> str | None:
    """Return a sentence on what is at fault, or None if ``error`` is not about a package, a file or a full disk."""
    if isinstance(error, ModuleNotFoundError):
        name = str(error.name)
        return None if '.' in name else f'{name} is not installed; run: pip install {name}'
    if error.errno is not None and error.filename is not None:
        return f'{error.strerror}: {error.filename}.'
    # The error of a write does not name the file.
    return f'{error.strerror}; free some.' if error.errno in (errno.ENOSPC, errno.EDQUOT) else None


def _flush() -> None:
    """Flush the output, so that an error occurs here and not when Python exits."""
    if sys.stdout is None:  # closed by the shell
        return
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would try again, and show a traceback.
        raise
