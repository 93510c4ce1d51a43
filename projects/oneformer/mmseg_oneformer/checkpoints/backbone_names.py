"""Names of a backbone's tensors, here and elsewhere: an entry for each family, registered by its backbone's file.

Whatever reads, converts, recognises or initialises weights knows families only from here. A file outside the package
registers its entry in the same way. A backbone without an entry trains, saves and loads all the same, but only under
its own names.

Names are relative to the backbone and may contain fields (``conversion.keys.FIELDS``).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from torch import Tensor

from .. import startup
from ..errors import UserError
from .conversion.keys import KeyMap, Names, compile_name, keys_like, under

PREFIX = 'backbone.'
"""Prefix of a backbone's names in a whole model of ours."""

State = Mapping[str, Tensor]

HUB_STAGES = ['stage1', 'stage2', 'stage3', 'stage4']
"""What transformers calls the levels of a backbone."""

HUB_LEVEL_NORMS = under('', '', [(f'norm{i}.{{wb}}', f'hidden_states_norms.{HUB_STAGES[i]}.{{wb}}') for i in range(4)])
"""Lines of ``HubNames.names`` for a backbone with a norm after each level."""


class BackboneFile(NamedTuple):
    """A published file of a classifier."""

    url: str
    what: str
    """Size, data and pixels, for messages."""
    timm: str | None = None
    """Name of the same weights in timm, which downloads them from another address."""


class Derived(NamedTuple):
    """Tensors that follow from others, so that a file need not have them."""

    name: str
    source: str
    formula: Callable[[Tensor], Tensor]
    reason: str
    """What they follow from."""


@dataclass(frozen=True, eq=False)
class HubNames:
    """A family in Hugging Face's transformers, as its files spell it."""

    names: Sequence[Names] = ()
    config: Callable[[State, Mapping[str, Any]], dict[str, Any] | None] = lambda state, backbone: None
    """From a backbone's tensors and its config to ``backbone_config``; None if that cannot be expressed."""
    in_memory: Sequence[tuple[str, str]] = ()
    """Parts of names as its modules spell them and as files do, where they differ."""
    unread_norm: tuple[str, str] | None = None
    """A norm there that OneFormer does not read, and a norm of ours with the same width."""


@dataclass(frozen=True, eq=False, kw_only=True)
class BackboneNames:
    """One family; only the first two fields are needed."""

    family: str
    block: str
    """A tensor that each block of this family has, and no other family: it shows a state dict's family and depth."""
    width: str = ''
    """A tensor whose first dimension is the backbone's width, such as the weight of a norm."""
    sizes: Mapping[tuple[int, int], str] = field(default_factory=dict)
    """(blocks, width) -> this size in names of models."""
    settings: Callable[[State], dict[str, int]] = lambda state: {}
    """Arguments of the backbone that tensors show and the name of a model does not."""

    reference: Sequence[Names] = ()
    """Our names beside those in OneFormer's reference code or a fork of it; ``['{any}']`` if they are the same."""
    hub: HubNames = HubNames()
    derived: Sequence[Derived] = ()
    no_decay: Sequence[str] = ()
    """Parameters without weight decay, for a library's class; a class of your own has ``no_weight_decay()``."""

    classifiers: Sequence[Sequence[Names]] = ()
    """Other names in classifiers' files, one table for each spelling, besides our names and ``reference``."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Tensors of such a file that the backbone does not use, by regular expression, and what they are."""
    start_new: Sequence[str] = ()
    """Parameters of the backbone that no classifier has."""
    files: Mapping[str, BackboneFile] = field(default_factory=dict)
    """Published files by short name."""

    @cached_property
    def tables(self) -> list[KeyMap]:
        """The tables of names that a classifier's file may use."""
        return [KeyMap(under('', '', names)) for names in (self.reference, *self.classifiers)]

    @property
    def optional(self) -> tuple[str, ...]:
        """Tensors of the backbone that a classifier's file need not have."""
        return (*self.start_new, *(derived.name for derived in self.derived))

    def names_in(self, form: str) -> Sequence[Names]:
        """Return the table of a form ('shi' or 'hf')."""
        return self.hub.names if form == 'hf' else self.reference

    def count_blocks(self, keys: Iterable[str]) -> int:
        """Return how many blocks a backbone with these keys has."""
        return len(keys_like(keys, self.block))


UNKNOWN = BackboneNames(family='unknown', block='')
"""Stands for every family without an entry."""

_ENTRIES: dict[str, BackboneNames] = {}


def register_backbone(names: BackboneNames) -> None:
    """Register a family.

    Raises:
        UserError: The family already has an entry, or a name has an unknown field.
    """
    if names.family in _ENTRIES:
        raise UserError(f'The backbone family {names.family} already has an entry; give yours another name.')
    startup.import_backbones()  # First, so that an entry from outside the package comes later.
    # Compiled here, so that a mistake in a name is found where it was made.
    _ = compile_name(names.block), names.tables, KeyMap(under('', '', names.hub.names))
    _ENTRIES[names.family] = names


def known_backbones() -> list[BackboneNames]:
    """Return all entries, the last registered first: it may be a special case of an older one."""
    startup.import_backbones()
    return list(reversed(_ENTRIES.values()))


def backbone_of(keys: Iterable[str]) -> BackboneNames:
    """Return the entry of the family that a backbone with these keys belongs to, or ``UNKNOWN``."""
    keys = list(keys)
    return next((names for names in known_backbones() if names.count_blocks(keys)), UNKNOWN)


def published_files() -> dict[str, BackboneFile]:
    """Return the published files of all families by short name."""
    return dict(sorted(item for names in known_backbones() for item in names.files.items()))


def tensors_of_backbone(state: State) -> dict[str, Tensor]:
    """Return the backbone's part of a model's state dict."""
    return {key.removeprefix(PREFIX): tensor for key, tensor in state.items() if key.startswith(PREFIX)}
