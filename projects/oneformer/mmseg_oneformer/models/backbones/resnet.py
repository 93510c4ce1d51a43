"""The names of mmdet's ResNet (He et al., 2016), which are torchvision's.

In the reference code batch norms are frozen, four buffers each, or synchronised with a counter as the fifth; mmdet's
always have the counter.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ...checkpoints.backbone_names import HUB_STAGES, BackboneNames, HubNames, State, register_backbone
from ...checkpoints.conversion.keys import Names, Rule, keys_like, under


def in_stages(theirs: str, first: int, names: Sequence[Names]) -> list[Rule]:
    """Return the rules for ``names`` in the blocks of each stage; theirs are numbered from ``first``."""
    return [
        rule for i in range(4) for rule in under(f'layer{i + 1}.{{i}}.', theirs.replace('N', str(first + i)), names)
    ]


REFERENCE: list[Names] = [
    ('conv1.weight', 'stem.conv1.weight'),
    ('bn1.{bn}', 'stem.conv1.norm.{bn}'),
    *in_stages(
        'resN.{i}.',
        2,
        [
            'conv{j}.weight',
            ('bn{j}.{bn}', 'conv{j}.norm.{bn}'),
            ('downsample.0.weight', 'shortcut.weight'),
            ('downsample.1.{bn}', 'shortcut.norm.{bn}'),
        ],
    ),
]
"""detectron2's."""

HUB: list[Names] = [
    ('conv1.weight', 'embedder.embedder.convolution.weight'),
    ('bn1.{bn}', 'embedder.embedder.normalization.{bn}'),
    *in_stages(
        'encoder.stages.N.layers.{i}.',
        0,
        [
            *((f'conv{n}.weight', f'layer.{n - 1}.convolution.weight') for n in (1, 2, 3)),
            *((f'bn{n}.{{bn}}', f'layer.{n - 1}.normalization.{{bn}}') for n in (1, 2, 3)),
            ('downsample.0.weight', 'shortcut.convolution.weight'),
            ('downsample.1.{bn}', 'shortcut.normalization.{bn}'),
        ],
    ),
]


def hub_config(state: State, backbone: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return transformers' settings; it has bottlenecks of PyTorch's style alone."""
    if backbone.get('style', 'pytorch') != 'pytorch' or 'layer1.0.conv3.weight' not in state:
        return None
    return {
        'model_type': 'resnet',
        'out_features': HUB_STAGES,
        'layer_type': 'bottleneck',
        'embedding_size': len(state['conv1.weight']),
        'hidden_sizes': [len(state[f'layer{i}.0.conv3.weight']) for i in range(1, 5)],
        'depths': [len(keys_like(state, f'layer{i}.{{j}}.conv1.weight')) for i in range(1, 5)],
    }


register_backbone(
    BackboneNames(
        family='resnet',
        block='layer{i}.{j}.conv1.weight',
        # Only bottlenecks have it: ResNet-34 has as many blocks as ResNet-50.
        width='layer1.0.conv3.weight',
        sizes={(16, 256): 'r50', (33, 256): 'r101'},
        reference=REFERENCE,
        hub=HubNames(HUB, hub_config),
    )
)
