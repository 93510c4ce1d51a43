"""ImageNet weights that training starts from: the published files, by name, strictly.

A config sets ``backbone=dict(..., init_cfg=dict(type='BackboneWeights', checkpoint=...))``, whatever the backbone is
and wherever the weights come from. Every parameter of the backbone is loaded except the norms after its levels, which
the published classifiers do not have; every tensor of the file is used, or left out for a reason that is logged.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import NamedTuple

from mmengine.model import BaseModule, initialize
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import Tensor, nn

from ...checkpoints.backbone_names import UNKNOWN, backbone_of, published_files
from ...checkpoints.checkpoint import read_checkpoint
from ...checkpoints.conversion.keys import KeyMap, Match, keys_like, rename
from ...console import say
from ...errors import NetworkError, UserError
from ...zoo.weights import resolve_weights

CLASSIFIER = {
    r'(head|fc|classifier|stem\.fc)\..+': 'the classifier',
    r'(fc_)?norm\.\w+': "the classifier's norm",
}
"""Tensors of a classifier's file that are left out if the backbone does not have them, by pattern."""

COUNTER = '{any}.num_batches_tracked'
"""Tensors of a backbone that a file need not have."""


@WEIGHT_INITIALIZERS.register_module()
class BackboneWeights:
    """Fills a backbone with the weights of an ImageNet classifier.

    Args:
        checkpoint: Short name of a published file, a path, an https address, ``timm://NAME`` or ``torchvision://NAME``.
            The file of a classifier may use the backbone's own weight names, or any others that the backbone's entry in
            the registry of names lists: those of its authors, timm, torchvision, detectron2 or mmdet.
    """

    def __init__(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint

    def __call__(self, module: nn.Module) -> None:
        """Load into ``module``.

        Raises:
            UserError: The weights belong to another network; ``module`` is left unchanged.
            FileNotFoundError: There is no such file.
            ConnectionError: The weights cannot be downloaded.
        """
        known, family = published_files().get(self.checkpoint), backbone_of(module.state_dict())
        if known is not None and family is not UNKNOWN and self.checkpoint not in family.files:
            raise UserError(
                f'{self.checkpoint} is {known.what}, but the backbone is a {type(module).__name__}; set '
                'model.backbone.init_cfg.checkpoint to weights of its own family.'
            )
        state, left_out = backbone_state(read_source(self.checkpoint), module.state_dict(), self.checkpoint)
        module.load_state_dict(state, strict=False)
        kept = sorted({name.rpartition('.')[0] for name, _ in module.named_parameters() if name not in state})
        notes = [f'left out: {", ".join(left_out)}'] * bool(left_out) + [f'initialised: {", ".join(kept)}'] * bool(kept)
        say(f'{len(state)} tensors of the backbone are from {self.checkpoint}; {"; ".join(notes)}.')


def load_initial_weights(backbone: BaseModule) -> None:
    """Load the weights that ``backbone.init_cfg`` names, and keep anything else from initialising the backbone.

    mmdet's Swin Transformer has its own loader, which skips what does not fit; so the model calls this before it
    initialises its parts. An ``init_cfg`` of another type is left to mmengine.
    """
    source = getattr(backbone, 'init_cfg', None)
    if isinstance(source, Mapping) and source.get('type') == 'BackboneWeights' and not backbone.is_init:
        initialize(backbone, dict(source))
        backbone.is_init = True


def read_source(checkpoint: str) -> dict[str, Tensor]:
    """Return the tensors of a classifier under their original names.

    Raises:
        UserError: timm or torchvision have no such weights, or the file is broken.
        FileNotFoundError: There is no such file.
        ConnectionError: The weights cannot be downloaded.
    """
    scheme, _, name = checkpoint.rpartition('://')
    files, alternative = published_files(), None
    if scheme == 'timm':
        return _read_timm(name)
    if scheme == 'torchvision':
        from mmengine.runner.checkpoint import get_torchvision_models  # imports the whole Runner

        urls = get_torchvision_models()
        if name not in urls:
            raise UserError(f'torchvision has no weights called {name}; it has resnet50, resnet101 and others.')
        checkpoint = urls[name]
    elif checkpoint in files:
        checkpoint, alternative = files[checkpoint].url, files[checkpoint].timm
    elif not scheme and '/' not in checkpoint and '.' not in checkpoint:
        raise UserError(
            f'There are no backbone weights called {checkpoint}; give a path, an address, timm://NAME, '
            f'torchvision://NAME, or one of {", ".join(files)}.'
        )
    try:
        path = resolve_weights(checkpoint)
    except ConnectionError as error:
        if alternative is None:
            raise
        raise NetworkError(
            f'{error} The same weights from another source: model.backbone.init_cfg.checkpoint=timm://{alternative}.'
        ) from error
    return read_checkpoint(path)['state_dict']


def _read_timm(name: str) -> dict[str, Tensor]:
    import timm  # takes longer than PyTorch to import

    if not timm.is_model_pretrained(name):
        raise UserError(f'timm has no weights called {name}; timm.list_pretrained() lists what it has.')
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except OSError as error:
        raise NetworkError(
            f"timm cannot download {name} ({error}); fetch it once with a connection, or give a file's path."
        ) from error


def backbone_state(
    theirs: Mapping[str, Tensor], own: Mapping[str, Tensor], source: str
) -> tuple[dict[str, Tensor], list[str]]:
    """Convert a classifier's tensors to the names and orders of a backbone.

    Args:
        theirs: The classifier's state dict, with or without one prefix before all keys.
        own: The backbone's state dict, with or without one prefix before all keys (timm's networks in a wrapper).
        source: What ``theirs`` was read from, for messages.

    Returns:
        A state dict for the backbone, and what was left out.

    Raises:
        UserError: Something is missing, left over, or of another shape.
    """
    readings = _readings(_without_prefix(theirs), own)
    best = max(readings, key=lambda reading: len(reading.state.keys() & own.keys()))  # The first one on a tie.
    complaints = [
        f'{len(keys)} tensors {what} (such as {keys[0]})'
        for keys, what in ((best.missing, 'are missing'), (best.left_over, 'are left over'))
        if keys
    ]
    shapes = [key for key in best.state if key in own and best.state[key].shape != own[key].shape]
    complaints += [
        f'{key} is {tuple(best.state[key].shape)} in the file and {tuple(own[key].shape)} in the backbone'
        for key in shapes[:1]
    ]
    if complaints:
        raise UserError(
            f'The weights of {source} do not belong to this backbone: {", ".join(complaints)}; set '
            'model.backbone.init_cfg.checkpoint to those of the same network.'
        )
    return best.state, best.left_out


class _Reading(NamedTuple):
    """The content of a file, read with one table of names."""

    state: dict[str, Tensor]
    """Keys of the backbone."""
    left_out: list[str]
    left_over: list[str]
    missing: list[str]


def _readings(theirs: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Iterator[_Reading]:
    """Read a file with every table that its names may follow."""
    # A wrapper, such as mmseg's of timm, puts a prefix before all names.
    first = next(iter(own), '')
    prefixes = ['', *(first[: dot.end()] for dot in re.finditer(r'\.', first))]
    outer = backbone_of(own)  # An entry may be for the wrapper's class, or for the network in it.
    for prefix in (prefix for prefix in prefixes if all(key.startswith(prefix) for key in own)):
        inner = backbone_of(key.removeprefix(prefix) for key in own)
        names = [COUNTER, *outer.optional, *(prefix + name for name in inner.optional)]
        optional = {key for name in names for key in keys_like(own, name)}
        for table in inner.tables:
            yield _read_as(theirs, own, prefix, table, {**outer.left_out, **inner.left_out}, optional)


def _read_as(
    theirs: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    prefix: str,
    table: KeyMap,
    unused: Mapping[str, str],
    optional: Set[str],
) -> _Reading:
    """Read a file whose names are the backbone's without ``prefix``, or those of ``table``."""

    def find(key: str) -> Match | None:
        for name in (key, key.replace('.', '_', 1)):  # timm's networks for features call stages.0 stages_0.
            if prefix + name in own:
                return Match(prefix + name, (key,))
        match = table.of_theirs(key)
        return match and match._replace(ours=prefix + match.ours)

    left_out = _reasons(theirs, unused)
    found = rename({key: tensor for key, tensor in theirs.items() if key not in left_out}, find)
    left_out |= _reasons(found.unknown, CLASSIFIER)
    left_over = [key for key in found.unknown if key not in left_out] + found.twice
    left_over += [key for key in found.state if key not in own]
    missing = [key for key in own if key not in found.state and key not in optional]
    return _Reading(found.state, list(dict.fromkeys(left_out.values())), left_over, missing)


def _reasons(keys: Iterable[str], patterns: Mapping[str, str]) -> dict[str, str]:
    """Return the keys that a pattern matches, and what they are."""
    return {key: what for key in keys for pattern, what in patterns.items() if re.fullmatch(pattern, key)}


def _without_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors without a prefix before all keys."""
    for prefix in ('module.', 'model.', 'backbone.'):
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return dict(state)
