"""What a model says of a backbone that does not fit, and what it leaves as it was."""

import pytest
import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import nn

from mmseg_oneformer.models.feature_levels import check_levels

WIDTHS = [8, 16, 32, 64]  # of the tiny model's backbone


class Levels(BaseModule):
    """Levels of given strides, of a backbone that minds the size of images and counts its calls."""

    def __init__(self, strides=(4, 8, 16, 32), widths=WIDTHS, size=None):
        super().__init__()
        self.stages = nn.ModuleList(nn.Conv2d(3, width, 1, stride) for width, stride in zip(widths, strides))
        self.norm = nn.BatchNorm2d(3)
        self.size, self.calls = size, 0

    def forward(self, images):
        self.calls += 1
        assert self.size in (None, images.shape[-1]), f"Input height doesn't match model ({self.size})."
        return tuple(stage(self.norm(images)) for stage in self.stages)


class Resized(nn.Module):
    """A neck: four levels of one."""

    def forward(self, levels):
        return [nn.functional.interpolate(levels[0], scale_factor=factor) for factor in (1, 0.5, 0.25, 0.125)]


def test_check_levels__changes_nothing_of_the_backbone():
    backbone = Levels()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    state = torch.random.get_rng_state()
    check_levels(backbone, None, WIDTHS)
    assert backbone.training and backbone.norm.training and backbone.calls == 0
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ('strides', 'widths', 'sentence'),
    [
        ((16, 16, 16, 16), WIDTHS, r'gives 4 levels \(8 at stride 16, 16 at stride 16'),
        ((4, 8, 16), WIDTHS[:3], 'gives 3 levels'),
        ((4, 8, 16, 32), [8, 16, 32, 48], '48 at stride 32 pixels.*in_channels'),
    ],
)
def test_check_levels__says_what_there_is_and_what_is_needed(strides, widths, sentence):
    with pytest.raises(ValueError, match=sentence):
        check_levels(Levels(strides, widths), None, WIDTHS)


def test_check_levels__behind_the_neck():
    single = Levels([4], [8])
    check_levels(single, Resized(), [8] * 4)
    with pytest.raises(ValueError, match=r'gives 1 levels .*neck'):
        check_levels(single, None, [8] * 4)


def test_check_levels__one_size_only():
    with pytest.raises(ValueError, match=r"fails on an image of 128 x 128 pixels \(Input height doesn't match"):
        check_levels(Levels(size=224), None, WIDTHS)


def test_check_levels__on_shapes_alone():
    with torch.device('meta'):
        backbone = Levels()
    check_levels(backbone, None, WIDTHS)


def test_oneformer__checks_at_construction(build):
    with pytest.raises(ValueError, match=r'64 at stride 32 pixels.*the head takes .*96 at stride 32'):
        build(head__pixel_decoder__in_channels=[8, 16, 32, 96])


def test_oneformer__trains_through_a_neck(tiny_config, make_batch, losses):
    MODELS.register_module(name='ResizedForTests', module=Resized, force=True)
    MODELS.register_module(name='LevelsForTests', module=Levels, force=True)
    config = tiny_config(neck={'type': 'ResizedForTests'}, head__pixel_decoder__in_channels=[8] * 4)
    config.backbone = {'type': 'LevelsForTests', 'strides': [4], 'widths': [8]}
    model = MODELS.build(config)
    named = losses(model, make_batch())
    sum(named.values()).backward()
    assert model.backbone.stages[0].weight.grad.abs().sum() > 0
