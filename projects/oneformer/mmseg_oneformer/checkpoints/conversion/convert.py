"""State dicts from and to the forms in which OneFormer was published; nothing is dropped without being listed."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...errors import UserError
from ..backbone_names import PREFIX, UNKNOWN, BackboneNames, Derived, backbone_of, known_backbones, tensors_of_backbone
from . import hub, reference
from .keys import KeyMap, Match, Rule, rename, under

FORMS = {'mm': 'mmseg_oneformer', 'shi': 'the reference code', 'hf': 'transformers'}
"""Short names of the forms, and whose they are."""

BUFFERS = 'reference_buffers'
"""Key of a meta: derived buffers of a reference file that differ from their formula, to be written back."""

COUNTER = 'num_batches_tracked'
SCALE = 'criterion.contrastive_loss.logit_scale'
TEMPERATURE = 0.07
AVERAGING = ('steps', 'n_averaged')

NO_OBJECT_WEIGHT = 0.1
"""Weight of "no object" in the classification loss of every published model."""


class _Form(NamedTuple):
    rules: Sequence[Rule]
    """All but those of the backbone, which its family has."""
    backbone: str
    """Prefix of the backbone's names."""
    dropped: Mapping[str, str]


_FORMS = {
    'shi': _Form(reference.RULES, reference.BACKBONE, reference.DROPPED),
    'hf': _Form(hub.RULES, hub.BACKBONE, hub.DROPPED),
}


@dataclass
class Conversion:
    """A state dict in its new form, and what became of the old one."""

    form: str
    """Of the input: a key of ``FORMS``."""
    state: dict[str, Tensor]
    used: dict[str, str] = field(default_factory=dict)
    """Key of the input -> key of the output (the first one, where a tensor was split)."""
    dropped: dict[str, str] = field(default_factory=dict)
    """Key of the input -> why it was left out."""
    filled: dict[str, str] = field(default_factory=dict)
    """Key of the output that is not in the input -> where its value comes from."""
    warnings: list[str] = field(default_factory=list)
    buffers: dict[str, Any] = field(default_factory=dict)
    """Derived buffers that differ from their formula, for the meta's ``BUFFERS``."""


def form_of(keys: Iterable[str]) -> str | None:
    """Return the form ('mm', 'shi' or 'hf') whose OneFormer has these keys, or None if they are not a OneFormer's."""
    keys = list(keys)
    for form, mark in (('shi', 'sem_seg_head.'), ('hf', 'model.pixel_level_module.'), ('mm', 'head.pixel_decoder.')):
        if any(key.startswith(mark) for key in keys):
            return form
    return None


def to_ours(state: Mapping[str, Tensor], form: str) -> Conversion:
    """Convert a state dict of the reference code or of transformers to our names and orders.

    Args:
        state: All tensors of the file.
        form: 'shi' or 'hf'.

    Raises:
        UserError: A key matches no rule, or a part of a tensor is missing.
    """
    backbone = backbone_in(state, form)
    dropped = {**_FORMS[form].dropped, **dict.fromkeys(AVERAGING, 'counts steps of averaging')}
    if form == 'hf':
        dropped |= dict.fromkeys(_unread_norm(backbone), "only transformers' classifier reads it")
    found = rename(state, _lookup(form, backbone))
    result = Conversion(form, found.state, found.used)
    result.dropped = {key: dropped[key] for key in found.unknown if key in dropped}
    unknown = [key for key in found.unknown if key not in dropped]
    if unknown:
        raise UserError(f'{_some(unknown)} of {FORMS[form]} match no rule; this model is not a OneFormer.')
    if found.twice:
        raise UserError(f'{_some(found.twice)} appear under two names; the file mixes two checkpoints, get it again.')
    if found.incomplete:
        raise UserError(f'parts of {_some(found.incomplete)} are missing; the file is incomplete, get it again.')
    _check_class_weights(state, result)
    _fill(result, backbone)
    return result


def backbone_in(keys: Iterable[str], form: str) -> BackboneNames:
    """Return the family of the backbone in a file of another form.

    A file is read by the rules of its own family, since a name may stand for different tensors in two families.
    """
    keys = [key for key in keys if key.startswith(_FORMS[form].backbone)]
    for backbone in known_backbones():
        matches = map(_lookup(form, backbone), keys)
        if backbone.count_blocks(match.ours.removeprefix(PREFIX) for match in matches if match is not None):
            return backbone
    return UNKNOWN


@lru_cache
def _table(form: str, backbone: BackboneNames) -> KeyMap:
    """Return the rules of a form, for models with this backbone."""
    return KeyMap([*_FORMS[form].rules, *under(PREFIX, _FORMS[form].backbone, backbone.names_in(form))])


def _lookup(form: str, backbone: BackboneNames) -> Callable[[str], Match | None]:
    """Return the function from a name in a file, or of modules in memory, to its match."""
    table = _table(form, backbone)
    return (lambda key: table.of_theirs(hub.file_name(key, backbone))) if form == 'hf' else table.of_theirs


def _unread_norm(backbone: BackboneNames) -> list[str]:
    """Return weight and bias of an additional norm in transformers."""
    if backbone.hub.unread_norm is None:
        return []
    return [f'{hub.BACKBONE}{backbone.hub.unread_norm[0]}.{name}' for name in ('weight', 'bias')]


def from_ours(
    state: Mapping[str, Tensor], form: str, frozen_norms: bool = False, buffers: Mapping[str, Any] | None = None
) -> Conversion:
    """Convert a state dict of ours to the names and orders of the reference code or of transformers.

    Args:
        state: All tensors of our model.
        form: 'shi' or 'hf'.
        frozen_norms: The batch norms are frozen; the reference code then has no counter in them.
        buffers: Derived buffers to write instead of those of their formula, from the meta's ``BUFFERS``.

    Raises:
        UserError: The other code has no counterpart for some tensors.
    """
    result = Conversion('mm', {})
    backbone = backbone_of(tensors_of_backbone(state))
    table = _table(form, backbone)
    derived = _derived(state, backbone)
    unknown = []
    for key, tensor in state.items():
        if key in derived and form == 'hf':
            result.dropped[key] = f'follows from {derived[key][0].reason}'
        elif key.endswith(COUNTER) and form == 'shi' and frozen_norms:
            result.dropped[key] = 'frozen batch norms count no batches'
        else:
            match = table.of_ours(key)
            if match is None:
                unknown.append(key)
                continue
            tensor = tensor if match.order is None else match.order.to_theirs(tensor)
            split = tensor.chunk(len(match.theirs)) if len(match.theirs) > 1 else (tensor,)
            result.state.update(zip(match.theirs, split, strict=True))
            result.used[key] = match.theirs[0]
    if unknown:
        only_backbone = all(key.startswith(PREFIX) for key in unknown)
        reason = 'does not support this backbone, write mm instead' if only_backbone else 'cannot run this ablation'
        raise UserError(f'{_some(unknown)} have no counterpart in {FORMS[form]}; it {reason}.')
    _add_theirs(state, result, form, backbone, buffers or {})
    return result


def _add_theirs(
    state: Mapping[str, Tensor],
    result: Conversion,
    form: str,
    backbone: BackboneNames,
    buffers: Mapping[str, Any],
) -> None:
    """Add what only their files have: class weights, and for transformers a norm and a temperature."""
    added = {}
    if 'head.decoder.class_embed.weight' in state:
        stored = buffers.get('criterion.empty_weight')
        weights = class_weights(len(state['head.decoder.class_embed.weight']) - 1)
        added['criterion.empty_weight'] = weights if stored is None else torch.tensor(stored)
    if form == 'hf':
        if backbone.hub.unread_norm is not None:
            width = len(state[f'{PREFIX}{backbone.hub.unread_norm[1]}.weight'])
            added |= dict(zip(_unread_norm(backbone), (torch.ones(width), torch.zeros(width)), strict=True))
        if SCALE not in state:
            added['criterion.logit_scale'] = torch.tensor(math.log(1 / TEMPERATURE))
    for key, tensor in added.items():
        result.state[key] = tensor
        result.filled[key] = 'their formula'


def class_weights(num_classes: int) -> Tensor:
    """Weights of the classification loss (K+1,): 1 for each class, ``NO_OBJECT_WEIGHT`` for "no object"."""
    weights = torch.ones(num_classes + 1)
    weights[-1] = NO_OBJECT_WEIGHT
    return weights


def _check_class_weights(state: Mapping[str, Tensor], result: Conversion) -> None:
    """Warn if the class weights do not follow from the number of classes, and keep them for converting back."""
    stored = state.get('criterion.empty_weight')
    head = result.state.get('head.decoder.class_embed.weight')
    if stored is None or head is None or head.dim() != 2 or not len(head):  # The model's shapes are checked later.
        return
    expected = class_weights(len(head) - 1).to(stored.dtype)  # half precision rounds 0.1
    if not torch.equal(stored.cpu(), expected):
        result.buffers['criterion.empty_weight'] = stored.tolist()
        result.warnings.append(
            'criterion.empty_weight is not 1 for each class and 0.1 for "no object": to train further, set '
            'model.criterion.no_object_weight to its last value.'
        )


def _fill(result: Conversion, backbone: BackboneNames) -> None:
    """Check or add derived tensors, and drop a temperature without a text branch."""
    ours = result.state
    for name, (derived, source) in _derived(ours, backbone).items():
        expected = derived.formula(ours[source])
        if name not in ours:
            ours[name] = expected
            result.filled[name] = derived.reason
        elif not torch.equal(ours[name].cpu(), expected):
            result.warnings.append(f'{name} does not follow from {derived.reason}; it is kept as it is.')
    for key in [key for key in ours if key.endswith('running_mean')]:
        name = key.replace('running_mean', COUNTER)
        if name not in ours:
            ours[name] = torch.tensor(0)
            result.filled[name] = 'frozen batch norms count no batches'
    if SCALE in ours and not any(key.startswith('text_mapper.') for key in ours):
        del ours[SCALE]
        (key,) = (key for key, name in result.used.items() if name == SCALE)
        del result.used[key]
        result.dropped[key] = 'belongs to the text branch, which is not in the file'


def _derived(keys: Iterable[str], backbone: BackboneNames) -> dict[str, tuple[Derived, str]]:
    """Return our names of derived tensors, with the formula of each and the key that it is computed from."""
    keys, found = list(keys), {}
    for derived in backbone.derived:
        table = KeyMap(under(PREFIX, PREFIX, [(derived.name, derived.source)]))
        for key in keys:
            match = table.of_theirs(key)
            if match is not None:
                found[match.ours] = (derived, key)
    return found


def _some(keys: list[str]) -> str:
    return f'{len(keys)} tensors (such as {keys[0]})'
