"""What a user does with ``plain_vit.py``, in a process that imports it through a config alone.

``python own_backbone.py CONFIG CONVERT``: the user's config, and the tool that converts. The folder has
``classifier.pth``, the state dict of a VisionTransformer of timm.
"""

import copy
import runpy
import sys
from pathlib import Path

import torch
from mmengine.registry import MODELS, DefaultScope
from timm.models import VisionTransformer

from mmseg_oneformer.checkpoints.checkpoint import load_weights
from mmseg_oneformer.checkpoints.conversion.convert import from_ours
from mmseg_oneformer.checkpoints.conversion.output import write_reference
from mmseg_oneformer.engine.optim import parameter_groups
from mmseg_oneformer.zoo.configs import read_config


def build(config, options=None):
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(read_config(config, options).model)


def starts_from_a_classifier(config):
    """Its features are those of timm's network, whose file it starts from."""
    model = build(config)
    model.init_weights()
    classifier = VisionTransformer(*(64, 16, 3, 5, 'avg', 32, 2, 2), class_token=False, fc_norm=False)
    classifier.load_state_dict(torch.load('classifier.pth'))
    image = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        features = copy.deepcopy(model.backbone).double().eval()(image)[2]
        expected = classifier.double().eval().forward_features(image)
    torch.testing.assert_close(features.flatten(2).transpose(1, 2), expected)
    return model


def decays(model):
    """All its parameters but the positions and the norms do."""
    groups = parameter_groups(model, lr=1.0, weight_decay=1.0)
    kept = {name for group in groups if not group['weight_decay'] for name in group['names']}
    assert {name for name in kept if name.startswith('backbone.') and 'norm' not in name} == {'backbone.positions'}


def converts(model, config, tool):
    """The tool reads a file in the names of a fork of the reference code, which has timm's."""
    published = from_ours(model.state_dict(), 'shi').state
    assert 'backbone.patch_embed.proj.weight' in published
    write_reference(Path('published.pth'), published)
    sys.argv = [tool, 'published.pth', 'ours.safetensors', '--model', config]
    runpy.run_path(tool, run_name='__main__')
    again = build(config)
    load_weights(again, 'ours.safetensors')
    assert all(torch.equal(tensor, model.state_dict()[key]) for key, tensor in again.state_dict().items())


def is_recognised(config):
    """A sentence says what the file is, where a model for other classes is to load it."""
    try:
        load_weights(build(config, {'model.head.num_classes': 4}), 'published.pth')
    except ValueError as error:
        print(error)


if __name__ == '__main__':
    own_config, convert_tool = sys.argv[1:]
    own_model = starts_from_a_classifier(own_config)
    decays(own_model)
    converts(own_model, own_config, convert_tool)
    is_recognised(own_config)
