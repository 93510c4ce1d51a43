"""Activation checkpointing changes memory and time only: losses, gradients and statistics stay what they are."""

import warnings

import pytest
import torch
from torch import nn

from mmseg_oneformer.models.activation_checkpointing import run_layer

SWIN = {
    'type': 'SwinBackbone',
    'embed_dims': 16,
    'depths': [1, 1, 2, 1],
    'num_heads': [1, 2, 4, 8],
    'window_size': 4,
    'drop_path_rate': 0.5,
}
CONVNEXT = {'type': 'ConvNeXt', 'depths': [1, 1, 2, 1], 'channels': [16, 32, 64, 128], 'drop_path_rate': 0.5}
DINAT = {
    'type': 'DiNAT',
    'embed_dims': 16,
    'depths': [1, 1, 2, 1],
    'num_heads': [1, 2, 4, 8],
    'mlp_ratio': 2.0,
    'kernel_size': 3,
    'dilations': [[1], [1], [1, 2], [1]],
    'drop_path_rate': 0.5,
}
RESNET = {'type': 'ResNetBackbone', 'depth': 18, 'base_channels': 16}
DROPOUT = {'head__pixel_decoder__dropout': 0.3, 'head__query_initializer__dropout': 0.3}
PARTS = {
    'pixel decoder': DROPOUT | {'head__pixel_decoder__with_cp': True},
    'query initialiser': DROPOUT | {'head__query_initializer__with_cp': True},
    'decoder': DROPOUT | {'head__decoder__with_cp': True},
    'ResNet': {'backbone': RESNET, 'backbone__with_cp': True},
    'Swin': {'backbone': SWIN, 'backbone__with_cp': True},
    "mmdet's ResNet": {'backbone': RESNET | {'type': 'mmdet.ResNet', 'norm_eval': False}, 'backbone__with_cp': True},
    "mmdet's Swin": {'backbone': SWIN | {'type': 'mmdet.SwinTransformer'}, 'backbone__with_cp': True},
    'ConvNeXt': {'backbone': CONVNEXT, 'backbone__with_cp': True},
    'DiNAT': {'backbone': DINAT, 'backbone__with_cp': True},
}
WHOLE = DROPOUT | {
    'backbone': SWIN,
    'backbone__with_cp': True,
    'head__pixel_decoder__with_cp': True,
    'head__query_initializer__with_cp': True,
    'head__decoder__with_cp': True,
}


@pytest.fixture
def build_pair(build):
    """The same model twice, without and with the switches that end in ``with_cp``."""

    def make(changes):
        if 'backbone' in changes:
            changes = {**changes, 'head__pixel_decoder__in_channels': (16, 32, 64, 128)}
        plain = {key: value for key, value in changes.items() if not key.endswith('with_cp')}
        return build(**plain), build(**changes)

    return make


def step(model, losses, batch):
    """Losses, gradients, and buffers behind a training step."""
    torch.manual_seed(7)
    values = losses(model, batch)
    sum(values.values()).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return [{name: value.detach() for name, value in values.items()}, gradients, dict(model.named_buffers())]


def assert_same(one, other):
    for expected, actual in zip(one, other, strict=True):
        assert expected.keys() == actual.keys()
        assert [name for name in expected if not torch.equal(expected[name], actual[name])] == []


@pytest.mark.parametrize('part', PARTS)
def test_with_cp__same_losses_gradients_and_statistics(build_pair, make_batch, losses, part):
    batch = make_batch()
    with warnings.catch_warnings():
        warnings.filterwarnings('error', message='.*use_reentrant')
        plain, checkpointed = (step(model, losses, batch) for model in build_pair(PARTS[part]))
    assert_same(plain, checkpointed)


@pytest.mark.parametrize('part', PARTS)
def test_with_cp__every_layer_runs_twice(build_pair, make_batch, losses, part):
    """Else the switch would do nothing, which no comparison of numbers shows."""
    model = build_pair(PARTS[part])[1]
    runs = {}
    owner = {
        'pixel decoder': model.head.pixel_decoder.layers,
        'query initialiser': model.head.query_initializer.layers,
        'decoder': model.head.decoder.layers,
    }.get(part, model.backbone)
    for name, module in owner.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.register_forward_pre_hook(lambda *_, name=name: runs.update({name: runs.get(name, 0) + 1}))
    sum(losses(model, make_batch()).values()).backward()
    again = [name for name, count in runs.items() if count == 2]
    assert set(runs.values()) <= {1, 2}
    assert len(again) > len(runs) / 2


def test_with_cp__under_autocast(build_pair, make_batch, losses):
    batch = make_batch()
    results = []
    for model in build_pair(WHOLE):
        torch.manual_seed(7)
        with torch.autocast('cpu', torch.bfloat16):
            values = losses(model, batch)
        sum(values.values()).backward()
        results.append([values, {name: parameter.grad for name, parameter in model.named_parameters()}])
    assert_same(*results)


def test_with_cp__leaves_inference_alone(build_pair, make_batch, monkeypatch):
    plain, checkpointed = build_pair(WHOLE)
    images = torch.randn(1, 3, 64, 64)
    monkeypatch.setattr('mmseg_oneformer.models.activation_checkpointing.checkpoint', None)
    with torch.no_grad():
        expected, actual = (model.eval().predict_logits(images, ('panoptic',)) for model in (plain, checkpointed))
    assert all(torch.equal(one, other) for one, other in zip(expected, actual, strict=True))


def test_run_layer__keeps_its_inputs_only():
    """What the backward pass needs of a layer is not there any more when the forward pass is over."""
    layer = nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 4))
    kept = {}
    for with_cp in (False, True):
        x = torch.randn(2, 4, requires_grad=True)
        sizes = kept[with_cp] = []
        parameters = {parameter.data_ptr() for parameter in layer.parameters()}

        def pack(tensor, sizes=sizes, parameters=parameters):
            sizes.append(tensor.data_ptr() not in parameters)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            run_layer(with_cp, layer, x)
    assert sum(kept[False]) > 3
    assert sum(kept[True]) <= 1


def test_run_layer__cumulative_batch_norm_counts_once():
    layer = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, momentum=None), nn.ReLU(), nn.Linear(3, 3))
    x = torch.randn(5, 3, requires_grad=True)
    for _ in range(2):
        run_layer(True, layer, x).sum().backward()
    assert layer[1].num_batches_tracked == 2
    assert layer[1].momentum is None
    assert not nn.modules.module._global_forward_pre_hooks


def test_run_layer__graph_that_is_retained():
    """Such as for the gradients of one loss after the other."""
    layer = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 3))
    x = torch.randn(5, 3, requires_grad=True)
    out = run_layer(True, layer, x)
    first, second = (torch.autograd.grad(out.square().sum(), x, retain_graph=True) for _ in range(2))
    assert torch.equal(*first, *second)
    assert layer[1].num_batches_tracked == 1 and layer[1].momentum == 0.1


def test_with_cp__compiles(build_pair, make_batch, losses):
    """No graph break in the layers; the same losses and gradients as uncompiled."""
    part = {'head__pixel_decoder__with_cp': True, 'head__decoder__with_cp': True}
    plain, model = build_pair(part)
    features = [
        torch.randn(1, width, 64 // stride, 64 // stride) for width, stride in zip((8, 16, 32, 64), (4, 8, 16, 32))
    ]

    def loss(decoder, *levels):
        masks, memory = decoder(levels)
        return masks.square().mean() + sum(level.square().mean() for level in memory)

    loss(plain.head.pixel_decoder, *features).backward()
    torch._dynamo.reset()
    compiled = torch.compile(loss, backend='aot_eager', fullgraph=True)
    compiled(model.head.pixel_decoder, *features).backward()
    for (name, one), other in zip(
        plain.head.pixel_decoder.named_parameters(), model.head.pixel_decoder.parameters(), strict=True
    ):
        torch.testing.assert_close(one.grad, other.grad, msg=name)
