"""ImageNet weights that training starts from: the published files, by name, strictly.

A config says ``backbone=dict(..., init_cfg=dict(type='BackboneWeights', checkpoint=...))`` whatever the backbone is and
wherever the weights are from. Every parameter of the backbone is filled but the norms behind its levels, which the
published classifiers do not have; every tensor of the file is used, or left out for a reason that is logged.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import timm
from mmengine.logging import print_log
from mmengine.model import BaseModule, initialize
from mmengine.registry import WEIGHT_INITIALIZERS
from mmengine.runner.checkpoint import get_torchvision_models
from torch import Tensor, nn

from ...checkpoints.checkpoint import read_checkpoint
from ...checkpoints.conversion.reference import REFERENCE
from ...zoo.weights import resolve_weights

SWIN_FILES = 'https://github.com/SwinTransformer/storage/releases/download/v1.0.0'
CONVNEXT_FILES = 'https://dl.fbaipublicfiles.com/convnext'
DINAT_FILES = 'https://shi-labs.com/projects/dinat/checkpoints'


class BackboneFile(NamedTuple):
    """A published file of a classifier."""

    family: str
    """Name of the backbone's class."""
    url: str
    what: str
    timm: str | None = None
    """Name of the same weights in timm, which takes them from another place."""


BACKBONE_FILES = {
    'swin_tiny_patch4_window7_224': BackboneFile(
        'SwinTransformer',
        f'{SWIN_FILES}/swin_tiny_patch4_window7_224.pth',
        'Swin-T, ImageNet-1k, 224 pixels',
        'swin_tiny_patch4_window7_224.ms_in1k',
    ),
    'swin_large_patch4_window12_384_22kto1k': BackboneFile(
        'SwinTransformer',
        f'{SWIN_FILES}/swin_large_patch4_window12_384_22kto1k.pth',
        'Swin-L, ImageNet-22k, then 1k, 384 pixels',
        'swin_large_patch4_window12_384.ms_in22k_ft_in1k',
    ),
    'convnext_large_22k_1k_384': BackboneFile(
        'ConvNeXt',
        f'{CONVNEXT_FILES}/convnext_large_22k_1k_384.pth',
        'ConvNeXt-L, ImageNet-22k, then 1k, 384 pixels',
        'convnext_large.fb_in22k_ft_in1k_384',
    ),
    'convnext_xlarge_22k_1k_384_ema': BackboneFile(
        'ConvNeXt',
        f'{CONVNEXT_FILES}/convnext_xlarge_22k_1k_384_ema.pth',
        'ConvNeXt-XL, ImageNet-22k, then 1k, 384 pixels, averaged weights',
        'convnext_xlarge.fb_in22k_ft_in1k_384',
    ),
    'dinat_large_in22k_in1k_384_11x11': BackboneFile(
        'DiNAT',
        f'{DINAT_FILES}/imagenet1k/dinat_large_in22k_in1k_384_11x11.pth',
        'DiNAT-L, kernel 11, ImageNet-22k, then 1k, 384 pixels',
    ),
    'dinat_large_in22k_224': BackboneFile(
        'DiNAT', f'{DINAT_FILES}/imagenet22k/dinat_large_in22k_224.pth', 'DiNAT-L, kernel 7, ImageNet-22k, 224 pixels'
    ),
}
"""What the published models started from, by short name; their ResNet-50 did from ``torchvision://resnet50``."""

LEFT_OUT = {
    r'(head|fc|stem\.fc)\..+': 'the classifier',
    r'norm\.(weight|bias)': "the classifier's norm",
    r'.+\.(relative_position_index|attn_mask)': 'what follows from the size of the windows',
}
"""Tensors of a classifier's file that a backbone has no use for, by pattern."""

LEVEL_NORM = re.compile(r'norm\d\.(weight|bias)')
"""Norms behind a backbone's levels, which no classifier has."""

DERIVED = re.compile(r'.+\.(num_batches_tracked|relative_position_index)')
"""Tensors of a backbone that a file need not have: counters, and what follows from a size."""


@WEIGHT_INITIALIZERS.register_module()
class BackboneWeights:
    """Fills a backbone with the weights of an ImageNet classifier.

    Args:
        checkpoint: A name of ``BACKBONE_FILES``, a path, an https address, ``timm://NAME`` or ``torchvision://NAME``.
            Files may be a classifier's in the names of its authors, timm, torchvision, detectron2 or mmdet.
    """

    def __init__(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint

    def __call__(self, module: nn.Module) -> None:
        """Load into ``module``.

        Raises:
            ValueError: The weights are another network's; ``module`` stays as it was.
            FileNotFoundError: There is no such file.
            ConnectionError: The weights cannot be downloaded.
        """
        known = BACKBONE_FILES.get(self.checkpoint)
        if known is not None and known.family != type(module).__name__:
            raise ValueError(
                f'{self.checkpoint} is {known.what}, and the backbone is a {type(module).__name__}; set '
                'model.backbone.init_cfg.checkpoint to weights of its own family.'
            )
        state, left_out = backbone_state(read_source(self.checkpoint), module.state_dict(), self.checkpoint)
        module.load_state_dict(state, strict=False)
        own = module.state_dict()
        kept = sorted({key.split('.')[0] for key in own if key not in state and LEVEL_NORM.fullmatch(key)})
        notes = [f'left out: {", ".join(left_out)}'] * bool(left_out) + [f'start new: {", ".join(kept)}'] * bool(kept)
        print_log(f'{len(state)} tensors of the backbone are from {self.checkpoint}; {"; ".join(notes)}.', 'current')


def load_initial_weights(backbone: BaseModule) -> None:
    """Load the weights that ``backbone.init_cfg`` names, and have nothing else initialise the backbone.

    mmdet's Swin Transformer has a loader of its own, which skips what does not fit; so the model calls this before it
    has its parts initialised. An ``init_cfg`` of another type is left to mmengine.
    """
    source = getattr(backbone, 'init_cfg', None)
    if isinstance(source, Mapping) and source.get('type') == 'BackboneWeights' and not backbone.is_init:
        initialize(backbone, dict(source))
        backbone.is_init = True


def read_source(checkpoint: str) -> dict[str, Tensor]:
    """Return the tensors of a classifier's weights, under the names they have there.

    Raises:
        ValueError: timm or torchvision have no such weights, or the file is broken.
        FileNotFoundError: There is no such file.
        ConnectionError: The weights cannot be downloaded.
    """
    scheme, _, name = checkpoint.rpartition('://')
    alternative = None
    if scheme == 'timm':
        return _read_timm(name)
    if scheme == 'torchvision':
        urls = get_torchvision_models()
        if name not in urls:
            raise ValueError(f'torchvision has no weights called {name}; it has resnet50, resnet101 and others.')
        checkpoint = urls[name]
    elif checkpoint in BACKBONE_FILES:
        checkpoint, alternative = BACKBONE_FILES[checkpoint].url, BACKBONE_FILES[checkpoint].timm
    elif not scheme and '/' not in checkpoint and '.' not in checkpoint:
        raise ValueError(
            f'There are no backbone weights called {checkpoint}; give a path, an address, timm://NAME, '
            f'torchvision://NAME, or one of {", ".join(BACKBONE_FILES)}.'
        )
    try:
        path = resolve_weights(checkpoint)
    except ConnectionError as error:
        if alternative is None:
            raise
        raise ConnectionError(
            f'{error} The same weights from another place: model.backbone.init_cfg.checkpoint=timm://{alternative}.'
        ) from error
    return read_checkpoint(path)['state_dict']


def _read_timm(name: str) -> dict[str, Tensor]:
    if not timm.is_model_pretrained(name):
        raise ValueError(f'timm has no weights called {name}; timm.list_pretrained() lists what it has.')
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except OSError as error:
        raise ConnectionError(
            f"timm cannot get {name} ({error}); fetch it once with network, or give a file's path."
        ) from error


def backbone_state(
    theirs: Mapping[str, Tensor], own: Mapping[str, Tensor], source: str
) -> tuple[dict[str, Tensor], list[str]]:
    """Bring a classifier's tensors to the names and orders of a backbone.

    Args:
        theirs: The classifier's state dict, with or without one prefix before all keys.
        own: The backbone's state dict.
        source: What ``theirs`` was read from, for messages.

    Returns:
        A state dict for the backbone, and what was left out.

    Raises:
        ValueError: Something is missing, left over, or of another shape.
    """
    state: dict[str, Tensor] = {}
    left_out: dict[str, None] = {}
    unknown = []
    for key, tensor in _plain_names(theirs).items():
        reason = next((reason for pattern, reason in LEFT_OUT.items() if re.fullmatch(pattern, key)), None)
        match = REFERENCE.of_theirs(f'backbone.{key}')
        if reason is not None:
            left_out[reason] = None
        elif key in own:
            state[key] = tensor
        elif match is not None:
            order = match.rule.order
            state[match.ours.removeprefix('backbone.')] = tensor if order is None else order.to_ours(tensor)
        else:
            unknown.append(key)
    unknown += [key for key in state if key not in own]
    _check_fit(state, own, unknown, source)
    return state, list(left_out)


def _check_fit(state: Mapping[str, Tensor], own: Mapping[str, Tensor], unknown: list[str], source: str) -> None:
    """Raise the ValueError of ``backbone_state`` unless everything fits."""
    missing = [key for key in own if key not in state and not LEVEL_NORM.fullmatch(key) and not DERIVED.fullmatch(key)]
    complaints = [
        f'{len(keys)} tensors {what} (such as {keys[0]})'
        for keys, what in ((missing, 'are missing'), (unknown, 'are left over'))
        if keys
    ]
    shapes = [key for key in state if key in own and state[key].shape != own[key].shape]
    complaints += [
        f'{key} is {tuple(state[key].shape)} there and {tuple(own[key].shape)} in the backbone' for key in shapes[:1]
    ]
    if complaints:
        raise ValueError(
            f'The weights of {source} are not of this backbone: {", ".join(complaints)}; set '
            'model.backbone.init_cfg.checkpoint to those of the same network.'
        )


def _plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors without a prefix before all keys, and timm's Swin numbered as its authors number it."""
    names = list(state)
    for prefix in ('module.', 'model.', 'backbone.'):
        if all(name.startswith(prefix) for name in names):
            names = [name.removeprefix(prefix) for name in names]
    if _starts_with_merging(names):
        names = [
            re.sub(r'^layers\.(\d)(?=\.downsample\.)', lambda found: f'layers.{int(found[1]) - 1}', name)
            for name in names
        ]
    return dict(zip(names, state.values(), strict=True))


def _starts_with_merging(names: Iterable[str]) -> bool:
    """Return whether patches are merged at the start of a stage (timm) and not at the end of the one before."""
    levels = {name.split('.')[1] for name in names if re.match(r'layers\.\d\.downsample\.', name)}
    return bool(levels) and '0' not in levels
