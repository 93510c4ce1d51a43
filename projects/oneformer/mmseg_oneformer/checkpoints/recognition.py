"""Which model a state dict is, by backbone, classes and queries: for messages that tell a user what a file holds."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from ..zoo.configs import list_models, read_config
from .backbone_names import UNKNOWN, backbone_of, tensors_of_backbone


class Architecture(NamedTuple):
    """What tells published models apart."""

    backbone: str
    settings: dict[str, int]
    """Arguments of the backbone that its tensors show."""
    num_classes: int
    num_queries: int

    def __str__(self) -> str:
        shown = ', '.join(f'{name.removesuffix("_size")} {value}' for name, value in self.settings.items())
        backbone = f'{self.backbone} ({shown})' if shown else self.backbone
        return f'{backbone} with {self.num_classes} classes and {self.num_queries} queries'


def architecture_of(state: Mapping[str, Tensor]) -> Architecture | None:
    """Describe a state dict with our names, or return None if it is not a complete OneFormer."""
    own = tensors_of_backbone(state)
    if not own:
        return None
    names = backbone_of(own)
    try:
        num_classes = state['head.decoder.class_embed.weight'].shape[0] - 1
        num_queries = state['head.query_embed.weight'].shape[0]
        width = own[names.width].shape[0] if names.width else None
    except (KeyError, IndexError):  # IndexError: a tensor without dimensions
        return None
    blocks = names.count_blocks(own)
    if names is UNKNOWN:
        backbone = 'a backbone of an unknown family'
    elif width is None:
        backbone = f'{names.family} of {blocks} blocks'
    else:
        backbone = names.sizes.get((blocks, width), f'{names.family} of {blocks} blocks, {width} wide,')
    return Architecture(backbone, names.settings(own), num_classes, num_queries)


def fitting_models(architecture: Architecture) -> list[str]:
    """Return the names of the registered models with this architecture."""
    found = []
    for name in list_models():
        if not re.match(rf'oneformer_{re.escape(architecture.backbone)}[-_]', name):
            continue
        model = read_config(name).get('model') or {}
        head, backbone = model.get('head') or {}, model.get('backbone') or {}  # a user's config may be of another kind
        sizes = (head.get('num_classes'), head.get('num_queries'))
        settings = {argument: backbone.get(argument) for argument in architecture.settings}
        if settings == architecture.settings and sizes == (architecture.num_classes, architecture.num_queries):
            found.append(name)
    return found


def describe_misfit(own: Mapping[str, Tensor], state: Mapping[str, Tensor], path: object) -> str | None:
    """Return a sentence if ``state`` is another model, or another number of classes or queries, than ``own``."""
    mine, its = architecture_of(own), architecture_of(state)
    if mine is None or its is None or mine == its:
        return None
    models = fitting_models(its)
    hints = [f'registered models that fit: {", ".join(models)}' if models else 'no registered model fits']
    if mine._replace(num_classes=its.num_classes) == its:
        hints.append(
            f'to fine-tune it for other classes: tools/train.py CONFIG --fine-tune-from {path}, or '
            'tools/model_converters/convert.py with --reset-classifier'
        )
    elif mine._replace(num_queries=its.num_queries, num_classes=its.num_classes) == its:
        hints.append(f'or set model.head.num_queries={its.num_queries}')
    return (
        f'{path} is not a checkpoint of this model: it looks like {its}, but the model is {mine}; {"; ".join(hints)}.'
    )
