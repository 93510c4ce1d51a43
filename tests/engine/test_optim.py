import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmseg_oneformer.engine import CpuAmpOptimWrapper, parameter_groups


class ToyBackbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.frozen = nn.BatchNorm2d(4).requires_grad_(False)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(3))
        self.absolute_pos_embed = nn.Parameter(torch.zeros(3))


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
def test_constructor__refuses_settings_it_would_ignore(options):
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
