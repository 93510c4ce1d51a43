"""State dicts from and to the forms in which OneFormer was published; nothing is lost without being named."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import hub, reference
from .keys import KeyMap, Order
from .tensors import class_weights, relative_position_index, window_of

FORMS = {'mm': 'mmseg_oneformer', 'shi': 'the reference code', 'hf': 'transformers'}
"""Short names of the forms, and whose they are."""

BUFFERS = 'reference_buffers'
"""Key of a meta: derived buffers of a reference file that differ from their formula, to be written back."""

INDEX, TABLE = 'relative_position_index', 'relative_position_bias_table'
COUNTER = 'num_batches_tracked'
SCALE = 'criterion.contrastive_loss.logit_scale'
TEMPERATURE = 0.07
AVERAGING = ('steps', 'n_averaged')


class _Form(NamedTuple):
    table: KeyMap
    dropped: Mapping[str, str]


_FORMS = {'shi': _Form(reference.REFERENCE, reference.DROPPED), 'hf': _Form(hub.HUB, hub.DROPPED)}


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
    """Key of the output that the input has not -> where its value is from."""
    warnings: list[str] = field(default_factory=list)
    buffers: dict[str, Any] = field(default_factory=dict)
    """Derived buffers that differ from their formula, for the meta's ``BUFFERS``."""


def form_of(keys: Iterable[str]) -> str | None:
    """Return the form ('mm', 'shi' or 'hf') whose OneFormer has these keys, or None if they are of something else."""
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
        ValueError: Keys that no rule knows, or a part of a tensor that is missing.
    """
    table, dropped = _FORMS[form]
    result = Conversion(form, {})
    unknown, twice = [], []
    parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        name = hub.file_name(key) if form == 'hf' else key
        match = table.of_theirs(name)
        if match is None:
            if name in dropped or name in AVERAGING:
                result.dropped[key] = dropped.get(name, 'counts steps of averaging')
            else:
                unknown.append(key)
            continue
        if match.ours in result.state or name in parts.get(match.ours, {}):
            twice.append(key)
            continue
        result.used[key] = match.ours
        if len(match.theirs) > 1:
            parts.setdefault(match.ours, {})[name] = tensor
            if len(parts[match.ours]) < len(match.theirs):
                continue
            found = parts.pop(match.ours)
            pieces = [found[part] for part in match.theirs]
        else:
            pieces = [tensor]
        result.state[match.ours] = _joined(key, pieces, match.rule.order)
    if unknown:
        raise ValueError(f'{_some(unknown)} of {FORMS[form]} that no rule knows; this is another model than OneFormer.')
    if twice:
        raise ValueError(f'{_some(twice)} are there under two names; the file mixes two checkpoints, get it again.')
    if parts:
        raise ValueError(f'parts of {_some(list(parts))} are missing; the file is not whole, get it again.')
    _check_class_weights(state, result)
    _fill(result)
    return result


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
        ValueError: Tensors that the other side has no place for.
    """
    result = Conversion('mm', {})
    unknown = []
    for key, tensor in state.items():
        if key.endswith(INDEX) and form == 'hf':
            result.dropped[key] = 'follows from the size of the window'
        elif key.endswith(COUNTER) and form == 'shi' and frozen_norms:
            result.dropped[key] = 'frozen batch norms count no batches'
        else:
            match = _FORMS[form].table.of_ours(key)
            if match is None:
                unknown.append(key)
                continue
            order = match.rule.order
            tensor = tensor if order is None else order.to_theirs(tensor)
            split = tensor.chunk(len(match.theirs)) if len(match.theirs) > 1 else (tensor,)
            result.state.update(zip(match.theirs, split, strict=True))
            result.used[key] = match.theirs[0]
    if unknown:
        raise ValueError(f'{_some(unknown)} that {FORMS[form]} has no place for; it cannot run this ablation.')
    _add_theirs(state, result, form, buffers or {})
    return result


def _add_theirs(state: Mapping[str, Tensor], result: Conversion, form: str, buffers: Mapping[str, Any]) -> None:
    """Add what their files have besides: class weights, and for transformers a norm and a temperature."""
    added = {}
    if 'head.decoder.class_embed.weight' in state:
        stored = buffers.get('criterion.empty_weight')
        weights = class_weights(len(state['head.decoder.class_embed.weight']) - 1)
        added['criterion.empty_weight'] = weights if stored is None else torch.tensor(stored)
    if form == 'hf':
        if any(key.endswith(TABLE) for key in state):
            width = len(state['backbone.norm3.weight'])
            added |= dict(zip(hub.UNREAD_NORM, (torch.ones(width), torch.zeros(width)), strict=True))
        if SCALE not in state:
            added['criterion.logit_scale'] = torch.tensor(math.log(1 / TEMPERATURE))
    for key, tensor in added.items():
        result.state[key] = tensor
        result.filled[key] = 'their formula'


def _joined(key: str, pieces: list[Tensor], order: Order | None) -> Tensor:
    """Return the parts of a tensor as one, in our order."""
    try:
        tensor = torch.cat(pieces) if len(pieces) > 1 else pieces[0]
        return tensor if order is None else order.to_ours(tensor)
    except (RuntimeError, IndexError) as error:
        shapes = ', '.join(str(tuple(piece.shape)) for piece in pieces)
        raise ValueError(f'{key} has a shape that cannot be ({shapes}); the file is broken, get it again.') from error


def _check_class_weights(state: Mapping[str, Tensor], result: Conversion) -> None:
    """Warn where the class weights are not what follows from the number of classes, and keep them for the way back."""
    stored = state.get('criterion.empty_weight')
    head = result.state.get('head.decoder.class_embed.weight')
    if stored is None or head is None or head.dim() != 2 or not len(head):  # The model's shapes are checked later.
        return
    expected = class_weights(len(head) - 1).to(stored.dtype)  # 0.1 is another number in half precision
    if not torch.equal(stored.cpu(), expected):
        result.buffers['criterion.empty_weight'] = stored.tolist()
        result.warnings.append(
            'criterion.empty_weight is not 1 for each class and 0.1 for "no object": train on with '
            'model.criterion.no_object_weight set to its last value.'
        )


def _fill(result: Conversion) -> None:
    """Check or add what follows from a formula, and drop a temperature that belongs to no text branch."""
    ours = result.state
    for key in [key for key in ours if key.endswith(TABLE)]:
        name = key.replace(TABLE, INDEX)
        expected = relative_position_index(window_of(ours[key]))
        if name not in ours:
            ours[name] = expected
            result.filled[name] = 'the size of the window'
        elif not torch.equal(ours[name].cpu(), expected):
            result.warnings.append(f'{name} is not what follows from the size of the window; it is kept as it is.')
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


def _some(keys: list[str]) -> str:
    return f'{len(keys)} tensors (such as {keys[0]})'
