"""What a state dict looks like: backbone, classes, queries. For sentences that tell a user which model a file is."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from ..zoo.configs import list_models, read_config

SIZES = {
    ('swin', 12, 96): 'swin-t',
    ('swin', 24, 96): 'swin-s',
    ('swin', 24, 128): 'swin-b',
    ('swin', 24, 192): 'swin-l',
    ('convnext', 36, 192): 'convnext-l',
    ('convnext', 36, 256): 'convnext-xl',
    ('dinat', 30, 192): 'dinat-l',
    ('resnet', 16, 64): 'r50',
    ('resnet', 33, 64): 'r101',
}
"""Name of a backbone by family, number of blocks and channels of the first stage."""

MARKS = {
    'swin': ('backbone.patch_embed.projection.weight', r'backbone\.stages\.\d+\.blocks\.\d+\.norm1\.weight'),
    'convnext': ('backbone.stem.0.weight', r'backbone\.stages\.\d+\.blocks\.\d+\.conv_dw\.weight'),
    'dinat': ('backbone.patch_embed.norm.weight', r'backbone\.levels\.\d+\.blocks\.\d+\.norm1\.weight'),
    'resnet': ('backbone.conv1.weight', r'backbone\.layer\d+\.\d+\.conv3\.weight'),
}
"""The tensor whose first dimension is the width, and a tensor that every block has."""


class Architecture(NamedTuple):
    """What tells published models apart."""

    backbone: str
    kernel_size: int | None
    """Of neighbourhood attention."""
    num_classes: int
    num_queries: int

    def __str__(self) -> str:
        kernel = '' if self.kernel_size is None else f' (kernel {self.kernel_size})'
        return f'{self.backbone}{kernel} with {self.num_classes} classes and {self.num_queries} queries'


def architecture_of(state: Mapping[str, Tensor]) -> Architecture | None:
    """Describe a state dict with our names, or return None if it is no OneFormer of a known family."""
    try:
        num_classes = state['head.decoder.class_embed.weight'].shape[0] - 1
        num_queries = state['head.query_embed.weight'].shape[0]
    except (KeyError, IndexError):  # IndexError: a tensor without dimensions
        return None
    for family, (mark, block) in MARKS.items():
        blocks = sum(re.fullmatch(block, key) is not None for key in state)
        if mark in state and state[mark].dim() and blocks:
            width = state[mark].shape[0]
            backbone = SIZES.get((family, blocks, width), f'{family} of {blocks} blocks, {width} wide,')
            table = state.get('backbone.levels.0.blocks.0.attn.rpb')
            kernel_size = (table.shape[-1] + 1) // 2 if table is not None and table.dim() else None
            return Architecture(backbone, kernel_size, num_classes, num_queries)
    return None


def fitting_models(architecture: Architecture) -> list[str]:
    """Return the names of the registered models that look so."""
    found = []
    for name in list_models():
        if not re.match(rf'oneformer_{re.escape(architecture.backbone)}[-_]', name):
            continue
        model = read_config(name).model
        sizes = (model.backbone.get('kernel_size'), model.head.num_classes, model.head.get('num_queries'))
        if sizes == (architecture.kernel_size, architecture.num_classes, architecture.num_queries):
            found.append(name)
    return found


def describe_misfit(own: Mapping[str, Tensor], state: Mapping[str, Tensor], path: object) -> str | None:
    """Return a sentence if ``state`` is another model, or another number of classes or queries, than ``own``."""
    mine, its = architecture_of(own), architecture_of(state)
    if mine is None or its is None or mine == its:
        return None
    models = fitting_models(its)
    hints = [f'registered models that fit: {", ".join(models)}' if models else 'no registered model is like it']
    if mine._replace(num_classes=its.num_classes) == its:
        hints.append(
            f'to train it on for other classes: tools/train.py CONFIG --fine-tune-from {path}, or '
            'tools/model_converters/convert.py with --reset-classifier'
        )
    elif mine._replace(num_queries=its.num_queries, num_classes=its.num_classes) == its:
        hints.append(f'or set model.head.num_queries={its.num_queries}')
    return f'{path} is no checkpoint of this model: it looks like {its}, the model is {mine}; {"; ".join(hints)}.'
