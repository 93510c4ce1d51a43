"""Names of tensors in two spellings: one table, read in both directions."""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import NamedTuple

from torch import Tensor

FIELDS = {
    'i': r'\d+',
    'j': r'\d+',
    'wb': 'weight|bias',
    'attn': r'in_proj_weight|in_proj_bias|out_proj\.weight|out_proj\.bias',
    'deform': r'(?:sampling_offsets|attention_weights|value_proj|output_proj)\.(?:weight|bias)',
    'bn': 'weight|bias|running_mean|running_var|num_batches_tracked',
}
"""What a ``{field}`` of a name may stand for: indices, and the tensors of one module."""


class Order(NamedTuple):
    """Two orders of the same numbers."""

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
    """A name that a rule knows."""

    rule: Rule
    ours: str
    theirs: tuple[str, ...]


Names = str | tuple[str, str | tuple[str, ...]] | tuple[str, str | tuple[str, ...], Order]
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
    """A table of rules, looked up by either side's full name."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)

    @cached_property
    def _ours(self) -> list[tuple[re.Pattern[str], Rule]]:
        return [(compile_name(rule.ours), rule) for rule in self.rules]

    @cached_property
    def _theirs(self) -> list[tuple[re.Pattern[str], Rule]]:
        return [(compile_name(name), rule) for rule in self.rules for name in rule.theirs]

    def of_ours(self, key: str) -> Match | None:
        """Return the names that belong to our ``key``, or None if no rule knows it."""
        return _find(self._ours, key)

    def of_theirs(self, key: str) -> Match | None:
        """Return the names that belong to their ``key``, or None if no rule knows it."""
        return _find(self._theirs, key)


def compile_name(name: str) -> re.Pattern[str]:
    """Return the pattern of a name with ``{field}`` in it."""
    pieces = re.split(r'\{(\w+)\}', name)
    fields = [f'(?P<{field}>{FIELDS[field]})' for field in pieces[1::2]]
    fixed = [re.escape(piece) for piece in pieces[::2]]
    return re.compile(fixed[0] + ''.join(field + piece for field, piece in zip(fields, fixed[1:])))


def _find(table: list[tuple[re.Pattern[str], Rule]], key: str) -> Match | None:
    for pattern, rule in table:
        found = pattern.fullmatch(key)
        if found:
            values: Mapping[str, str] = found.groupdict()
            return Match(rule, rule.ours.format(**values), tuple(name.format(**values) for name in rule.theirs))
    return None
