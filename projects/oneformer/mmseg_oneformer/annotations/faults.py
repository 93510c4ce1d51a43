"""Faults of an annotation file, entry by entry."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UserError

__all__ = ['Fault', 'raise_faults', 'report']

LISTED = 5
"""Faults that one message lists; it counts the others."""


class Fault(NamedTuple):
    """A fault of one entry.

    Attributes:
        rule: The rule that it breaks, by the doctor's name.
        entry: How the entry is identified in the file, such as "annotation 12".
        what: What is wrong, phrased to follow ``entry``.
        remedy: What the user can do.
        image_id: Id of the photo, if it concerns one.
        file: Name of the photo or the map in the file.
        segment_id: Id of the segment, if it concerns one.
    """

    rule: str
    entry: str
    what: str
    remedy: str
    image_id: Any = None
    file: str = ''
    segment_id: Any = None

    def __str__(self) -> str:
        """Return the fault as one sentence, without the name of the file."""
        return f'{self.entry} {self.what}; {self.remedy}.'


def report(path: str | Path, faults: Sequence[Fault]) -> str:
    """Return the message for the faults of a file: a sentence for one, else their number and the first of them."""
    if len(faults) == 1:
        return f'{path}: {faults[0]}'
    more = '' if len(faults) <= LISTED else ', among them'
    return '\n  '.join([f'{path} has {len(faults)} faults{more}:', *map(str, faults[:LISTED])])


def raise_faults(path: str | Path, faults: Iterable[Fault]) -> None:
    """Raise a UserError if a file has faults."""
    if found := list(faults):
        raise UserError(report(path, found))
