"""Mistakes of users, told apart from bugs by their type alone.

Decisions:
* Whatever a user can cure is a :class:`UserError`, whose message is one sentence with the cure. Tools print it and end
  with exit status 2. Every other exception is a bug and keeps its traceback.
* What Python has a class for is one of these too (``except FileNotFoundError`` works as ever).
* Exceptions of libraries become sentences where they are called, and nowhere else.
"""

import difflib
from collections.abc import Iterable

__all__ = ['MissingFileError', 'MissingPackageError', 'NetworkError', 'UserError', 'WriteError', 'did_you_mean']


class UserError(ValueError):
    """Something a user can cure; the message is a sentence that says how."""


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder that was named does not exist."""


class WriteError(UserError, OSError):
    """A file cannot be written."""


class NetworkError(UserError, ConnectionError):
    """Something cannot be downloaded."""


class MissingPackageError(UserError, ImportError):
    """A package is not installed, or is of a version that cannot work."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ' (did you mean "..."?)' with the known name most like ``name``, or '' if none is like it."""
    names = {str(one) for one in known}
    folded = {one.lower(): one for one in sorted(names)}
    close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    return f' (did you mean "{folded[close[0]]}"?)' if close else ''
