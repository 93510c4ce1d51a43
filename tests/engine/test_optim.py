import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from torch import nn

from mmseg_oneformer.engine.optim import CpuAmpOptimWrapper, parameter_groups


class ToyBackbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.frozen = nn.BatchNorm2d(4).requires_grad_(False)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(3))
        self.absolute_pos_embed = nn.Parameter(torch.zeros(3))

    def no_weight_decay(self):
        """timm's and BEiT's convention, which may name what this variant does not have."""
        return {'relative_position_bias_table', 'absolute_pos_embed', 'cls_token'}


class SubclassedNorm(nn.LayerNorm):
    pass


class ToyModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = ToyBackbone()
        self.level_embed = nn.Parameter(torch.zeros(3))  # raw: decays, though its name is that of an embedding below
        self.head = nn.ModuleDict(
            {
                'level_embed': nn.Embedding(3, 4),
                'norm': SubclassedNorm(4),
                'group': nn.GroupNorm(2, 4),
                'not_the_backbone_mask': nn.Linear(4, 4),
            }
        )
        self.shared = self.head['norm']


GROUPS = {
    (1e-4, 0.05): {'level_embed', 'head.not_the_backbone_mask.weight', 'head.not_the_backbone_mask.bias'},
    (1e-4, 0.0): {
        *('head.level_embed.weight', 'head.norm.weight', 'head.norm.bias', 'head.group.weight', 'head.group.bias'),
    },
    (1e-5, 0.05): {'backbone.conv.weight', 'backbone.conv.bias'},
    (1e-5, 0.0): {
        *('backbone.norm.weight', 'backbone.norm.bias'),
        *('backbone.relative_position_bias_table', 'backbone.absolute_pos_embed'),
    },
}


def test_parameter_groups__by_type_of_module():
    groups = parameter_groups(ToyModel(), lr=1e-4, weight_decay=0.05)
    assert {(round(group['lr'], 9), group['weight_decay']): set(group['names']) for group in groups} == GROUPS
    assert groups[0]['lr'] == 1e-4
    assert all(len(group['names']) == len(group['params']) for group in groups)


def test_parameter_groups__norms_of_the_backbone_decay_on_request():
    groups = parameter_groups(ToyModel(), lr=1e-4, weight_decay=0.05, backbone_norm_decay=True)
    moved = {'backbone.norm.weight', 'backbone.norm.bias'}
    wanted = {
        **GROUPS,
        (1e-5, 0.05): GROUPS[1e-5, 0.05] | moved,
        (1e-5, 0.0): GROUPS[1e-5, 0.0] - moved,
    }
    assert {(round(group['lr'], 9), group['weight_decay']): set(group['names']) for group in groups} == wanted


class ToyTextEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.zeros(3))

    def no_weight_decay(self):
        return {'positional_embedding'}


def without_decay(backbone):
    """Names of the parameters of a model with this backbone that do not decay."""
    model = nn.ModuleDict({'backbone': backbone, 'text_encoder': ToyTextEncoder()})
    groups = parameter_groups(model, lr=1e-4, weight_decay=0.05)
    return {name for group in groups if not group['weight_decay'] for name in group['names']}


def test_parameter_groups__what_a_vit_of_timm_says():
    """As timm trains it; the text encoder of the published models decays whole, whatever its class says."""
    options = {'embed_dim': 8, 'depth': 1, 'num_heads': 1, 'img_size': 32, 'out_indices': (0,), 'pretrained': False}
    backbone = MODELS.build({'type': 'mmseg.TIMMBackbone', 'model_name': 'vit_tiny_patch16_224', **options})
    vit = 'backbone.timm_model.model'
    norms = {f'{vit}.blocks.0.norm{i}.{name}' for i in (1, 2) for name in ('weight', 'bias')}
    assert without_decay(backbone) == norms | {f'{vit}.cls_token', f'{vit}.pos_embed'}


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
def test_parameter_groups__swin_of_a_library(scope):
    """Its class says nothing; the entry of its names does."""
    options = {'pretrain_img_size': 32, 'embed_dims': 4, 'depths': [1, 1, 1, 1], 'num_heads': [1, 1, 1, 1]}
    backbone = MODELS.build({'type': f'{scope}.SwinTransformer', 'use_abs_pos_embed': True, **options})
    raw = {name for name in without_decay(backbone) if 'norm' not in name}
    assert raw == {
        'backbone.absolute_pos_embed',
        *(f'backbone.stages.{i}.blocks.0.attn.w_msa.relative_position_bias_table' for i in range(4)),
    }


def build(**options):
    cfg = {
        'type': 'OptimWrapper',
        'constructor': 'OneFormerOptimWrapperConstructor',
        'optimizer': {'type': 'AdamW', 'lr': 0.01, 'weight_decay': 0.05},
        **options,
    }
    return build_optim_wrapper(ToyModel(), cfg)


def test_constructor__builds_adamw_with_the_groups():
    paramwise = {'backbone_multiplier': 0.5, 'backbone_norm_decay': False}
    wrapper = build(paramwise_cfg=paramwise, accumulative_counts=2)
    assert isinstance(wrapper.optimizer, torch.optim.AdamW)
    assert wrapper._accumulative_counts == 2
    assert [group['lr'] for group in wrapper.optimizer.param_groups] == [0.01, 0.01, 0.005, 0.005]
    assert sum(len(group['params']) for group in wrapper.optimizer.param_groups) == 14


@pytest.mark.parametrize(
    'options', [{'paramwise_cfg': {'norm_decay_mult': 0.0}}, {'optimizer': {'type': 'AdamW', 'lr': 0.01}}]
)
def test_constructor__rejects_settings_it_would_ignore(options):
    with pytest.raises(ValueError, match='optim_wrapper'):
        build(**options)


def test_cpu_amp__autocasts_the_forward_pass_only():
    model = nn.Linear(2, 2)
    wrapper = CpuAmpOptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    with wrapper.optim_context(model):
        loss = model(torch.ones(1, 2)).float().sum()
        assert model(torch.ones(1, 2)).dtype == torch.bfloat16
    wrapper.update_params(loss)
    assert model(torch.ones(1, 2)).dtype == torch.float32
