"""Names of tensors in two spellings: one table, read in both directions."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ...errors import UserError

FIELDS = {
    'i': r'\d+',
    'j': r'\d+',
    'k': r'\d+',
    'wb': 'weight|bias',
    'attn': r'in_proj_weight|in_proj_bias|out_proj\.weight|out_proj\.bias',
    'deform': r'(?:sampling_offsets|attention_weights|value_proj|output_proj)\.(?:weight|bias)',
    'bn': 'weight|bias|running_mean|running_var|num_batches_tracked',
    'any': '.+',
}
"""What a ``{field}`` in a name may stand for: indices, the tensors of one module, all names below one."""


class Order(NamedTuple):
    """Conversion between two orders of the same values."""

    to_ours: Callable[[Tensor], Tensor]
    to_theirs: Callable[[Tensor], Tensor]


class Rule(NamedTuple):
    """One line of a table.

    ``theirs`` has one name, or several whose tensors are parts of ours along the first dimension.
    """

    ours: str
    theirs: tuple[str, ...]
    order: Order | None = None


class Match(NamedTuple):
    """A name that matches a rule."""

    ours: str
    theirs: tuple[str, ...]
    order: Order | None = None
    part: int = 0
    """Which of ``theirs`` the name was."""


Names = str | tuple[str, str | tuple[str, ...]] | tuple[str, str | tuple[str, ...], Order] | Rule
"""A line of a table: one name for both sides, or ours and theirs, and maybe an order."""


def under(ours: str, theirs: str, names: Iterable[Names]) -> list[Rule]:
    """Return the rules for ``names`` below the modules ``ours`` and ``theirs``."""
    rules = []
    for line in names:
        first, second, *order = (line, line) if isinstance(line, str) else line
        assert isinstance(first, str)
        parts = (second,) if isinstance(second, str) else second
        rules.append(Rule(ours + first, tuple(theirs + part for part in parts), order[0] if order else None))
    return rules


class KeyMap:
    """A table of rules, looked up by either side's full name; the first rule that matches counts."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        rules = list(rules)
        self._ours = [(compile_name(rule.ours), rule, 0) for rule in rules]
        self._theirs = [(compile_name(name), rule, part) for rule in rules for part, name in enumerate(rule.theirs)]

    def of_ours(self, key: str) -> Match | None:
        """Return the names that belong to our ``key``, or None if it matches no rule."""
        return _find(self._ours, key)

    def of_theirs(self, key: str) -> Match | None:
        """Return the names that belong to their ``key``, or None if it matches no rule."""
        return _find(self._theirs, key)


class Renamed(NamedTuple):
    """A state dict under our names and in our orders."""

    state: dict[str, Tensor]
    used: dict[str, str]
    """Their key -> ours."""
    unknown: list[str]
    twice: list[str]
    """Keys of tensors that were already found under another key."""
    incomplete: list[str]
    """Our keys of which parts are missing."""


def rename(state: Mapping[str, Tensor], find: Callable[[str], Match | None]) -> Renamed:
    """Convert tensors to our names and orders.

    Args:
        state: Tensors under their names.
        find: From a name of theirs to its match in a table.

    Raises:
        UserError: The shapes of parts do not match, or a shape cannot be reordered.
    """
    parts: dict[str, dict[int, Tensor]] = {}
    renamed: dict[str, Tensor] = {}
    used, unknown, twice = {}, [], []
    for key, tensor in state.items():
        match = find(key)
        if match is None:
            unknown.append(key)
            continue
        found = parts.get(match.ours, {})
        if match.ours in renamed or match.part in found:
            twice.append(key)
            continue
        used[key] = match.ours
        parts[match.ours] = {**found, match.part: tensor}
        if len(parts[match.ours]) == len(match.theirs):
            pieces = parts.pop(match.ours)
            renamed[match.ours] = _joined(key, [pieces[part] for part in sorted(pieces)], match.order)
    return Renamed(renamed, used, unknown, twice, list(parts))


def _joined(key: str, pieces: list[Tensor], order: Order | None) -> Tensor:
    """Return the parts of a tensor as one, in our order."""
    try:
        tensor = torch.cat(pieces) if len(pieces) > 1 else pieces[0]
        return tensor if order is None else order.to_ours(tensor)
    except (RuntimeError, IndexError) as error:
        shapes = ', '.join(str(tuple(piece.shape)) for piece in pieces)
        raise UserError(f'{key} has an impossible shape ({shapes}); the file is broken, get it again.') from error


def compile_name(name: str) -> re.Pattern[str]:
    """Return the pattern of a name with ``{field}`` in it.

    Raises:
        UserError: There is no such field.
    """
    pieces = re.split(r'\{(\w+)\}', name)
    unknown = [piece for piece in pieces[1::2] if piece not in FIELDS]
    if unknown:
        raise UserError(f'"{name}" has the unknown field {{{unknown[0]}}}; there are {", ".join(FIELDS)}.')
    fields = [f'(?P<{piece}>{FIELDS[piece]})' for piece in pieces[1::2]]
    fixed = [re.escape(piece) for piece in pieces[::2]]
    return re.compile(fixed[0] + ''.join(field + piece for field, piece in zip(fields, fixed[1:])))


def keys_like(keys: Iterable[str], name: str) -> list[str]:
    """Return the keys that match ``name``."""
    pattern = compile_name(name)
    return [key for key in keys if pattern.fullmatch(key)]


def _find(table: list[tuple[re.Pattern[str], Rule, int]], key: str) -> Match | None:
    for pattern, rule, part in table:
        found = pattern.fullmatch(key)
        if found:
            values: Mapping[str, str] = found.groupdict()
            theirs = tuple(name.format(**values) for name in rule.theirs)
            return Match(rule.ours.format(**values), theirs, rule.order, part)
    return None
