"""Numbers of parameters, and what the optimiser does with each, equal the published models'."""

import re
from pathlib import Path

import pytest
from mmengine.config import Config

from mmseg_oneformer.engine.optim import parameter_groups
from mmseg_oneformer.models.skeleton import build_skeleton

CONFIGS = Path(__file__).parents[2] / 'configs/_base_/models'

# Sizes of the tensors of kind "parameter" in the key lists of published checkpoints, added up by part: the backbone,
# everything else that predicts (K and N matter), and the text branch with its temperature (49 408 x 256 tokens, 77
# positions, 6 layers, projector, 16 context vectors, 1 scalar).
TEXT_BRANCH = 17_542_913
KERNEL_7 = {'kernel_size': 7}
PUBLISHED = {
    # data set and backbone: (model, changes of its backbone, K, N, parameters of the backbone, of the head)
    'cityscapes-r50': ('r50-syncbn', {}, 19, 150, 23_508_032, 23_796_436),
    'ade20k-swin-t': ('swin-t', {}, 150, 150, 27_520_698, 23_215_703),
    'ade20k-swin-l': ('swin-l', {}, 150, 250, 195_201_204, 23_609_943),
    'coco-swin-l': ('swin-l', {}, 133, 150, 195_201_204, 23_579_974),
    'mapillary-swin-l': ('swin-l', {}, 65, 250, 195_201_204, 23_588_098),
    'ade20k-convnext-l': ('convnext-l', {}, 150, 250, 196_233_024, 23_609_943),
    'cityscapes-convnext-xl': ('convnext-xl', {}, 19, 250, 348_151_552, 23_822_036),
    'ade20k-dinat-l': ('dinat-l', {}, 150, 250, 199_609_938, 23_609_943),
    'cityscapes-dinat-l': ('dinat-l', KERNEL_7, 19, 250, 199_409_202, 23_576_276),
}
MILLIONS = {
    'cityscapes-r50': (47.304, 64.847),
    'ade20k-swin-t': (50.736, 68.279),
    'ade20k-swin-l': (218.811, 236.354),
    'coco-swin-l': (218.781, 236.324),
    'mapillary-swin-l': (218.789, 236.332),
    'ade20k-convnext-l': (219.843, 237.386),
    'cityscapes-convnext-xl': (371.974, 389.517),
    'ade20k-dinat-l': (223.220, 240.763),
    'cityscapes-dinat-l': (222.985, 240.528),
}


@pytest.fixture
def build_full():
    """Build a full-size model from the shipped configs, on the meta device."""

    def make(name, num_classes, num_queries, **changes):
        model = Config.fromfile(CONFIGS / f'oneformer_{name}.py').model
        model.head.update(num_classes=num_classes, num_queries=num_queries)
        model.backbone.update(changes)
        model.thing_ids = ()
        return build_skeleton(model)

    return make


def count(module):
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


@pytest.mark.parametrize('published', PUBLISHED)
def test_parameters__equal_published(build_full, published):
    name, changes, num_classes, num_queries, backbone, head = PUBLISHED[published]
    model = build_full(name, num_classes, num_queries, **changes)
    assert count(model.backbone) == backbone
    assert count(model.head) == head
    assert count(model.text_mapper) + count(model.criterion) == TEXT_BRANCH
    inference, training = (round(total / 1e6, 3) for total in (backbone + head, backbone + head + TEXT_BRANCH))
    assert (inference, training) == MILLIONS[published]
    assert count(model) == backbone + head + TEXT_BRANCH


def test_parameters__frozen_norms_do_not_count(build_full):
    """mmdet keeps frozen batch norms as parameters; the reference as buffers."""
    model = build_full('r50', 133, 150)
    frozen = sum(parameter.numel() for parameter in model.parameters() if not parameter.requires_grad)
    assert frozen == 53_120
    assert count(model.backbone) == PUBLISHED['cityscapes-r50'][4] - 53_120


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

    def run(name, **options):
        model = build_full(name, 150 if name == 'swin-t' else 133, 150)
        groups = parameter_groups(model, BASE_LR, DECAY, **options)
        by_name = {NAMES[round(group['lr'], 8), group['weight_decay']]: group['names'] for group in groups}
        return model, by_name

    return run


@pytest.mark.parametrize(
    ('golden_name', 'name'), [('R50_frozenbn', 'r50'), ('R50_syncbn', 'r50-syncbn'), ('SwinT', 'swin-t')]
)
def test_parameter_groups__golden_counts(golden, groups_of, golden_name, name):
    model, groups = groups_of(name)
    expected = dict(golden['counts']['optimizer_param_tensors'][golden_name])
    assert sum(map(len, groups.values())) == expected.pop('total')
    assert {group: len(names) for group, names in groups.items()} == expected
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name for names in groups.values() for name in names} == trainable


def test_parameter_groups__convnext_decays_as_a_whole(groups_of):
    """The reference's rule knows PyTorch's norms only, and ConvNeXt has its own; the head's norms do not decay."""
    _, groups = groups_of('convnext-l', backbone_norm_decay=True)
    assert {group: len(names) for group, names in groups.items()} == {
        'lr1e-4_wd0': 134,
        'lr1e-4_wd.05': 283,
        'lr1e-5_wd.05': 348,
    }
    backbone = set(groups['lr1e-5_wd.05'])
    assert {'backbone.stages.2.blocks.5.gamma', 'backbone.stages.0.blocks.0.norm.weight'} <= backbone
    assert {'backbone.norm3.bias', 'backbone.stem.1.weight', 'backbone.stages.1.downsample.0.weight'} <= backbone


def test_parameter_groups__dinat_decays_bias_tables_and_no_norms(groups_of):
    _, groups = groups_of('dinat-l')
    # 2 of the patch embedding, 4 a block, 2 a downsampling, 2 a level; 413 tensors in all.
    assert len(groups['lr1e-5_wd0']) == 2 + 4 * 30 + 2 * 3 + 2 * 4
    assert len(groups['lr1e-5_wd.05']) == 413 - 136
    assert sum(name.endswith('.attn.rpb') for name in groups['lr1e-5_wd.05']) == 30


@pytest.mark.parametrize('name', ['r50-syncbn', 'swin-t', 'dinat-l'])
def test_parameter_groups__every_parameter_by_its_name(groups_of, name):
    """The same groups, derived from names alone: norms, embeddings and position tables don't decay, all else does."""
    _, groups = groups_of(name)
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
