"""Numbers of parameters, and what the optimiser does with each, equal the published models'."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from mmseg_oneformer.engine.optim import parameter_groups

CONFIGS = Path(__file__).parents[2] / 'configs/_base_/models'

# Sizes of the tensors of kind "parameter" in the key lists of published checkpoints, added up by part: the backbone,
# everything else that answers (K and N matter), and the text branch with its temperature (49 408 x 256 tokens, 77
# positions, 6 layers, projector, 16 context vectors, 1 scalar).
TEXT_BRANCH = 17_542_913
PUBLISHED = {
    # model: (K, N, backbone, head)
    'r50': (
        19,
        150,
        23_508_032,
        23_796_436,
    ),  # Cityscapes, SyncBN; Mask2Former's stem and stages without the classifier
    'swin-t': (150, 150, 27_520_698, 23_215_703),  # ADE20K
    'swin-l': (150, 250, 195_201_204, 23_609_943),  # ADE20K
}
MILLIONS = {'r50': (47.304, 64.847), 'swin-t': (50.736, 68.279), 'swin-l': (218.811, 236.354)}


@pytest.fixture
def build_full(monkeypatch):
    """Build a full-size model from the shipped configs, without spending seconds on random numbers."""
    for name in ('kaiming_uniform_', 'kaiming_normal_', 'xavier_uniform_', 'uniform_', 'normal_', 'trunc_normal_'):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)

    def make(name, num_classes, num_queries, sync_bn=False):
        model = Config.fromfile(CONFIGS / f'oneformer_{name}.py').model
        model.head.update(num_classes=num_classes, num_queries=num_queries)
        model.thing_ids = ()
        if sync_bn:
            model.backbone.update(norm_cfg={'type': 'SyncBN', 'requires_grad': True}, norm_eval=False)
        return MODELS.build(model)

    return make


def count(module):
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


@pytest.mark.parametrize('name', PUBLISHED)
def test_parameters__equal_published(build_full, name):
    num_classes, num_queries, backbone, head = PUBLISHED[name]
    model = build_full(name, num_classes, num_queries, sync_bn=name == 'r50')
    assert count(model.backbone) == backbone
    assert count(model.head) == head
    assert count(model.text_mapper) + count(model.criterion) == TEXT_BRANCH
    inference, training = (round(total / 1e6, 3) for total in (backbone + head, backbone + head + TEXT_BRANCH))
    assert (inference, training) == MILLIONS[name]
    assert count(model) == backbone + head + TEXT_BRANCH


def test_parameters__frozen_norms_do_not_count(build_full):
    """mmdet keeps frozen batch norms as parameters; the reference as buffers."""
    model = build_full('r50', 133, 150)
    frozen = sum(parameter.numel() for parameter in model.parameters() if not parameter.requires_grad)
    assert frozen == 53_120
    assert count(model.backbone) == PUBLISHED['r50'][2] - 53_120


BASE_LR, DECAY = 1e-4, 0.05
NAMES = {
    (1e-4, 0.0): 'lr1e-4_wd0',
    (1e-4, 0.05): 'lr1e-4_wd.05',
    (1e-5, 0.0): 'lr1e-5_wd0',
    (1e-5, 0.05): 'lr1e-5_wd.05',
}


NO_DECAY = re.compile(
    r'(norm\d?|bn\d|ln_\d|ln_final|downsample\.1|input_proj\.\d\.1|lateral\.1|output\.1)\.(weight|bias)$'
    r'|(query_embed|decoder\.level_embed|token_embedding|context)\.weight$|relative_position_bias_table$'
)


@pytest.fixture
def groups_of(build_full):
    """Parameter names by the golden file's names of groups."""

    def run(name, sync_bn=False):
        model = build_full(name, 150 if name == 'swin-t' else 133, 150, sync_bn)
        groups = parameter_groups(model, BASE_LR, DECAY)
        by_name = {NAMES[round(group['lr'], 8), group['weight_decay']]: group['names'] for group in groups}
        return model, by_name

    return run


@pytest.mark.parametrize(
    ('golden_name', 'name', 'sync_bn'),
    [('R50_frozenbn', 'r50', False), ('R50_syncbn', 'r50', True), ('SwinT', 'swin-t', False)],
)
def test_parameter_groups__golden_counts(golden, groups_of, golden_name, name, sync_bn):
    model, groups = groups_of(name, sync_bn)
    expected = dict(golden['counts']['optimizer_param_tensors'][golden_name])
    assert sum(map(len, groups.values())) == expected.pop('total')
    assert {group: len(names) for group, names in groups.items()} == expected
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name for names in groups.values() for name in names} == trainable


@pytest.mark.parametrize(('name', 'sync_bn'), [('r50', True), ('swin-t', False)])
def test_parameter_groups__every_parameter_by_its_name(groups_of, name, sync_bn):
    """The same groups, derived from names alone: norms, embeddings and position tables don't decay, all else does."""
    _, groups = groups_of(name, sync_bn)
    for group, names in groups.items():
        for full in names:
            rate = 5 if full.startswith('backbone.') else 4
            assert group == f'lr1e-{rate}_wd{"0" if NO_DECAY.search(full) else ".05"}', full
    decaying = {
        'head.pixel_decoder.level_embed',
        'text_mapper.encoder.positional_embedding',
        'criterion.contrastive_loss.logit_scale',
        'head.decoder.class_embed.bias',
    }
    assert decaying <= set(groups['lr1e-4_wd.05'])
    kept = {
        'head.query_embed.weight',
        'head.decoder.level_embed.weight',
        'head.decoder.norm.weight',
        'text_mapper.encoder.token_embedding.weight',
        'text_mapper.context.weight',
        'head.pixel_decoder.lateral.1.weight',
    }
    assert kept <= set(groups['lr1e-4_wd0'])
