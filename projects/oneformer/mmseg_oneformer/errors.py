"""Mistakes of users, told apart from bugs by their type alone.

Decisions:
* Whatever a user can cure is a :class:`UserError`, whose message is one sentence with the cure. Tools print it and end
  with exit status 2. Every other exception is a bug and keeps its traceback, but for what the operating system says
  of a file (:mod:`.command_line.manners`).
* What Python has a class for is one of these too (``except FileNotFoundError`` works as ever).
* Exceptions of libraries become sentences where they are called, and nowhere else.
"""

import difflib
from collections.abc import Iterable

__all__ = [
    'MissingFileError',
    'MissingPackageError',
    'NetworkError',
    'NoMemoryError',
    'UserError',
    'WriteError',
    'did_you_mean',
]


class UserError(ValueError):
    """Something a user can cure; the message is a sentence that says how."""

    @property
    def sentence(self) -> str:
        """The message in one line.

        What a worker of a ``DataLoader`` raises, torch raises again as the same type with the worker's whole traceback
        for a message, whose last entry is the error itself.
        """
        kind = f'\n{type(self).__module__}.{type(self).__qualname__}: '
        return ' '.join(str(self).rpartition(kind)[2].split())


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder that was named does not exist."""


class WriteError(UserError, OSError):
    """A file cannot be written."""


class NetworkError(UserError, ConnectionError):
    """Something cannot be downloaded."""


class NoMemoryError(UserError):
    """The memory of the machine or of the GPU ran out."""


class MissingPackageError(UserError, ImportError):
    """A package is not installed, or is of a version that cannot work."""


def did_you_mean(name: str, known: Iterable[str], count: int = 1, likeness: float = 0.6) -> str:
    """Return ' (did you mean "..."?)' with the known names most like ``name``, or '' if none is like it.

    Args:
        name: What was given.
        known: What there is.
        count: How many names at most.
        likeness: From 0 to 1, how much a name has to be like it; 0.6 finds most slips, 0.9 hardly anything else.
    """
    folded = {str(one).lower(): str(one) for one in sorted(known)}
    close = difflib.get_close_matches(name.lower(), folded, count, likeness)
    names = ' or '.join(f'"{folded[one]}"' for one in close)
    return f' (did you mean {names}?)' if names else ''
