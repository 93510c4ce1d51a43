"""Training that starts from another model's checkpoint, for the same or for other classes.

A config requests it with ``model = dict(init_cfg=dict(type='FineTuneFrom', checkpoint=...))``, the command line with
``tools/train.py --fine-tune-from``. Whatever does not depend on the classes has to fit and is kept.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ..checkpoints.checkpoint import TRAINING_ONLY, check_fit, read_checkpoint
from ..console import say
from ..datasets.metainfo import metainfo_of
from ..zoo.configs import list_models, read_config
from ..zoo.weights import resolve_weights

FINE_TUNING = 'FineTuneFrom'
"""``init_cfg.type`` of a model that starts from a checkpoint. Its other keys are the arguments of ``fine_tune``."""

CLASS_HEADS = ('head.decoder.class_embed.', 'criterion.query_classifier.')
"""Prefixes of the weights that have a row for each class."""


def is_fine_tuning(init_cfg: Any) -> bool:
    """Return whether a model with this ``init_cfg`` starts from a checkpoint."""
    return isinstance(init_cfg, Mapping) and init_cfg.get('type') == FINE_TUNING


def fine_tune(
    model: nn.Module, checkpoint: str | os.PathLike[str], classes: Sequence[str] | None = None
) -> tuple[list[str], list[str]]:
    """Copy a checkpoint into an initialised model, except a class head for other classes, and log what was done.

    Args:
        model: The model to train; what is not copied stays as it was initialised.
        checkpoint: Path, https address, or name of a model; in any form that ``read_checkpoint`` accepts.
        classes: Names of the model's classes. The class head is kept if the checkpoint has the same number of classes
            and their names, in the file or else those of the named model, do not contradict these.

    Returns:
        Keys of the model that were copied, and keys that were not.

    Raises:
        FileNotFoundError: There is no such file.
        UserError: Anything but the class head and the text branch differs; the model is left unchanged.
    """
    path = resolve_weights(checkpoint)
    content = read_checkpoint(path)
    own, state = model.state_dict(), content['state_dict']
    theirs = (content['meta'].get('dataset_meta') or {}).get('classes') or _classes_of_model(checkpoint)
    reason = _other_classes(own, state, classes, theirs)
    if reason is not None:
        state = {key: value for key, value in state.items() if not key.startswith(CLASS_HEADS)}
    heads = {} if reason is None else {key: value for key, value in own.items() if key.startswith(CLASS_HEADS)}
    one_sided = {key for key in own.keys() ^ (state.keys() | heads.keys()) if key.startswith(TRAINING_ONLY)}
    check_fit(
        {key: value for key, value in own.items() if key not in one_sided},
        {key: value for key, value in {**state, **heads}.items() if key not in one_sided},
        path,
    )
    model.load_state_dict({**own, **{key: value for key, value in state.items() if key in own}})
    copied = [key for key in own if key in state]
    kept_initial = [key for key in own if key not in state]
    _log(path, copied, kept_initial, sum(key not in own for key in state), reason, theirs is not None)
    return copied, kept_initial


def _classes_of_model(checkpoint: str | os.PathLike[str]) -> Sequence[str] | None:
    """Return the classes of a model whose weights are given by name, since published files do not name them."""
    if str(checkpoint) not in list_models():
        return None
    return metainfo_of(read_config(checkpoint).test_dataloader.dataset).get('classes')


def _other_classes(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], ours: Sequence[str] | None, theirs: Sequence[str] | None
) -> str | None:
    """Return why the class head does not fit, or None if it does."""
    key = f'{CLASS_HEADS[0]}weight'
    if key not in own or key not in state:
        return None
    here, there = len(own[key]) - 1, len(state[key]) - 1
    if here != there:
        return f'{there} classes there, {here} here'
    if ours is None or theirs is None:
        return None
    pairs = [(a, b) for a, b in zip(theirs, ours, strict=False) if a.strip() != b.strip()]
    return f'class "{pairs[0][0]}" there is "{pairs[0][1]}" here' if pairs else None


def _log(path: object, copied: list[str], initial: list[str], unused: int, reason: str | None, has_names: bool) -> None:
    """Log what was kept and what was reset."""
    parts = [f'kept {len(copied)} tensors of {path}']
    if reason is not None:
        parts.append(f'reset the class head ({reason})')
    elif copied:
        parts.append(f'including its class head{"" if has_names else " (the file does not name its classes)"}')
    text = [key for key in initial if key.startswith(TRAINING_ONLY) and not key.startswith(CLASS_HEADS)]
    if text:
        parts.append(f'initialised a new text branch ({len(text)} tensors that are not in the file)')
    if unused:
        parts.append(f'left out {unused} tensors of a text branch that this model does not have')
    say(f'Fine-tuning: {"; ".join(parts)}.')
