"""The classes of a data set to be converted: from the command line, and as values of semantic PNGs."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..annotations.semantic_png import read_values
from ..errors import UserError, did_you_mean

__all__ = [
    'VOID',
    'Classes',
    'check_listed',
    'class_name',
    'labels_of',
    'parse_classes',
    'read_semantic',
    'void_values',
]

VOID = -1


class Classes(NamedTuple):
    """The classes of a data set to be converted: things first, then stuff, category ids from 1.

    Attributes:
        things: Names of the countable ones.
        stuff: Names of the others.
        values: Class index of each value of the semantic PNGs; ``VOID`` for ignored ones.
        ignored: Names whose regions are void.
        rest: Class index of pixels that nothing covers; ``VOID`` for none.
    """

    things: tuple[str, ...]
    stuff: tuple[str, ...]
    values: dict[int, int]
    ignored: tuple[str, ...] = ()
    rest: int = VOID

    @property
    def names(self) -> tuple[str, ...]:
        """All names in the order of the class indices."""
        return self.things + self.stuff

    def is_thing(self, label: int) -> bool:
        """Return whether class index ``label`` is countable."""
        return 0 <= label < len(self.things)

    def label_of(self, name: str) -> int | None:
        """Return the class index of a name, ``VOID`` if it is ignored, or None if it is unknown."""
        if name in self.ignored:
            return VOID
        return self.names.index(name) if name in self.names else None


def class_name(entry: str) -> str:
    """Return the name of ``NAME`` or ``NAME=VALUE``."""
    name, equals, _ = entry.rpartition('=')
    return name if equals else entry


def void_values(given: Sequence[int] | None, usual: int, entries: Iterable[str]) -> Sequence[int]:
    """Return the ignored values: those given, else the usual one, unless an entry ``NAME=VALUE`` names it."""
    if given is not None:
        return given
    return () if any(entry.endswith(f'={usual}') for entry in entries) else (usual,)


def parse_classes(
    things: Sequence[str],
    stuff: Sequence[str],
    void: Sequence[int],
    ignored: Collection[str] = (),
    rest: str | None = None,
) -> Classes:
    """Return the classes from entries ``NAME`` or ``NAME=VALUE`` of the command line.

    Args:
        things: Countable classes; several may have the same name, whose values then mean the same class.
        stuff: The other classes.
        void: Values that are ignored.
        ignored: Classes that become void, even if they are among the others.
        rest: The stuff class for pixels that nothing covers.

    Raises:
        UserError: A value is not a number or stands for two classes, or a name is both thing and stuff.
    """
    names: list[list[str]] = [[], [], []]
    pairs: list[tuple[str, int]] = []
    left_out = set(map(class_name, ignored))
    for kind, entries in enumerate((things, [*stuff, *([rest] if rest else [])], ignored)):
        # A list saved by an editor may begin with a byte order mark and end with an empty line.
        for entry in filter(None, (entry.removeprefix('\ufeff').strip() for entry in entries)):
            name, equals, value = entry.rpartition('=')
            if equals and not value.isdecimal():
                raise UserError(f'{entry!r} has no number behind "="; write NAME=VALUE as in dog=24, or NAME.')
            name = name if equals else entry
            if not name:
                raise UserError(f'{entry!r} has no name before "="; write NAME=VALUE as in dog=24, or NAME.')
            if name not in names[kind] and (kind == 2 or name not in left_out):
                names[kind].append(name)
            if equals:
                pairs.append((name, int(value)))
    if rest and class_name(rest) in left_out:
        raise UserError(f'{rest!r} is given to --rest and to --ignore; decide for one.')
    both = sorted(set(names[0]) & set(names[1]))
    if both:
        raise UserError(f'{both[0]!r} is given as thing and as stuff; decide for one.')
    all_names = names[0] + names[1]
    values = dict.fromkeys(void, VOID)
    for name, number in pairs:
        label = VOID if name in left_out else all_names.index(name)
        if values.setdefault(number, label) != label:
            raise UserError(f'Value {number} is given to {name!r} and to something else; give each value once.')
    rest_label = all_names.index(class_name(rest)) if rest else VOID
    return Classes(tuple(names[0]), tuple(names[1]), values, tuple(names[2]), rest_label)


def check_listed(
    names: Sequence[str], things: Sequence[str], stuff: Sequence[str], ignored: Collection[str], source: str | Path
) -> None:
    """Check the classes that an annotation names against the command line.

    A class is a thing unless it is among ``stuff`` or ``ignored``. But if ``things`` lists names without a value, every
    class has to be in one of the three lists, so that none becomes a thing unnoticed.

    Raises:
        UserError: A class is in no list, a list has a name that is no class, or a name has what stands before values.
    """
    if marked := next((name for name in names if '=' in name), None):
        raise UserError(
            f'{source} has the category {marked!r}; "=" stands before values here, so give it another name.'
        )
    listed = [entry for entry in things if '=' not in entry]
    left_out = list(map(class_name, ignored))
    for flag, entries in (('--things', listed), ('--ignore', left_out)):
        if unknown := next((entry for entry in entries if entry not in names), None):
            raise UserError(f'{source} has no category {unknown!r}{did_you_mean(unknown, names)}; correct {flag}.')
    known = {*map(class_name, (*things, *stuff)), *left_out}
    missing = [name for name in names if name not in known]
    if listed and missing:
        raise UserError(
            f'{source} has the category {missing[0]!r}, which --things does not list; add it there, or to --stuff or '
            '--ignore.'
        )


def read_semantic(path: str | Path, size: tuple[int, int], classes: Classes) -> np.ndarray:
    """Return the class indices (H, W) of a semantic PNG; ``VOID`` where there is none.

    Raises:
        UserError: It is missing, damaged, coloured or differs in size, or has a value without a name.
    """
    return labels_of(read_values(path, size), classes, path)


def labels_of(values: np.ndarray, classes: Classes, path: str | Path) -> np.ndarray:
    """Return the class indices (H, W) int32 of the values of a PNG; see :func:`read_semantic`."""
    table = np.full(int(values.max(initial=0)) + 1, VOID - 1, dtype=np.int32)
    for value, label in classes.values.items():
        if value < len(table):
            table[value] = label
    labels = table[values]
    if labels.min(initial=0) < VOID:
        value = int(values[labels < VOID][0])
        raise UserError(
            f'{path} has pixels of value {value}, which stands for no class; '
            f'name it with --stuff NAME={value} or --things NAME={value}, or ignore it with --void {value}.'
        )
    return labels
