"""Parts of a call, exponents, and the batches and peers that are measured."""

import argparse

import numpy as np
import pytest
import torch
from mmcv.ops import multi_scale_deform_attn

from benchmarks.batches import segment_map, training_batch
from benchmarks.models import Setting, build, read_model
from benchmarks.peers.mask2former import DeformableAttention, build_mask2former, mask2former_model
from benchmarks.rows import Row
from benchmarks.scaling import exponents, parse_over, scaling_tables
from benchmarks.sides import Logits, our_side
from benchmarks.stages import split

BUNDLED = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
SETTING = Setting((64, 96), batch=2, segments=7)


@pytest.fixture(scope='module')
def cfg():
    return read_model(argparse.Namespace(model=BUNDLED, cfg_options=None), SETTING)


@pytest.fixture(scope='module')
def model(cfg):
    return build(cfg.model).eval()


def test_split__parts_and_the_rest():
    now = [0.0]

    class Layer(torch.nn.Module):
        def forward(self, x):
            now[0] += 2
            return x

    layer = Layer()

    def call(part):
        layer(torch.zeros(1))
        with part('block'):
            now[0] += 3
        now[0] += 5
        layer(torch.zeros(1))

    parts = split(call, {'layer': layer}, 'cpu', runs=2, clock=lambda: now[0])
    assert {name: measured.ours.seconds for name, measured in parts.items()} == {
        'layer': (4, 4),
        'block': (3, 3),
        'rest': (5, 5),
    }
    before = now[0]
    layer(torch.zeros(1))  # the hooks are gone
    assert now[0] == before + 2 and not layer._forward_hooks and not layer._forward_pre_hooks


def test_exponents__of_a_power_and_of_a_sum():
    xs = [1.0, 2.0, 4.0]
    assert exponents(xs, [3 * x**1.5 for x in xs]) == pytest.approx((1.5, 1.5))
    fitted, local = exponents(xs, [1 + x**2 for x in xs])
    assert fitted < local < 2 and local == pytest.approx(np.log2(17 / 5))


def test_scaling_tables__over_pixels_and_counts():
    def row(name, seconds, peak):
        return Row(name, seconds, None, None, peak, None, 'cpu', 'fp32', '-')

    rows = [
        row('a@size=512', 4.0, 8.0),
        row('a@size=256', 1.0, 2.0),
        row('b@queries=50', 1.0, None),
        row('c', 1.0, 1.0),
    ]
    sizes, queries = scaling_tables(rows)
    assert sizes[0][0] == 'a over size' and [cells[0] for cells in sizes[1]] == ['256', '512', 'exponent']
    assert sizes[1][-1] == ['exponent', '1.00 (1.00)', '1.00 (1.00)']  # four times the pixels
    assert queries[1] == [['50', '1.00 s', '-']]  # one point has no slope


@pytest.mark.parametrize('text', ['size', 'size=', 'size=0', 'size=1,,2', 'width=3', 'size=a'])
def test_parse_over__rejects(text):
    with pytest.raises(argparse.ArgumentTypeError, match='for example size=256,512'):
        parse_over(text)


def test_segment_map__every_segment_is_there():
    segments = segment_map((62, 96), 200, np.random.default_rng(0))
    assert segments.shape == (62, 96) and segments.dtype == np.int32
    assert np.unique(segments).tolist() == list(range(1, 201))


def test_segment_map__no_room():
    with pytest.raises(ValueError, match='32x32 pixels have room for 64'):
        segment_map((32, 32), 65, np.random.default_rng(0))


def test_training_batch__has_as_many_targets_as_segments(cfg):
    batch = training_batch(cfg, SETTING)
    for image, sample in zip(batch['inputs'], batch['data_samples']):
        assert image.shape == (3, 64, 96) and image.dtype == torch.uint8
        assert sample.gt_targets.index_map.unique().tolist() == list(range(7))
        assert sum(sample.text_counts) == len(sample.gt_instances.labels) == 7
    assert not torch.equal(*(sample.gt_targets.index_map for sample in batch['data_samples']))


def test_build__same_weights_each_time(cfg, model):
    again = build(cfg.model)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())


def test_mask2former__has_our_backbone_and_our_sizes(cfg, model):
    peer = build_mask2former(cfg, model)
    assert torch.equal(peer.backbone.conv1.weight, model.backbone.conv1.weight)
    head, ours = peer.panoptic_head, model.head
    assert (head.num_queries, head.num_classes) == (ours.num_queries, ours.num_classes)
    assert len(head.transformer_decoder.layers) == len(ours.decoder.layers)
    assert len(head.pixel_decoder.encoder.layers) == len(ours.pixel_decoder.layers)
    assert head.mask_embed[0].weight.shape == (64, 64)
    assert mask2former_model(cfg).train_cfg.num_points == cfg.model.criterion.num_points


def test_our_side__predictions_are_those_of_predict(cfg, model):
    images = torch.randn(2, 3, 64, 96)
    side = our_side(model, (64, 96))
    with torch.inference_mode():
        ((semantic, panoptic), _) = side.network(images, ('semantic', 'panoptic'))
        classes, masks = model.predict_logits(images[:1], ('panoptic',))
    assert torch.allclose(panoptic.classes, classes[0, 0], atol=1e-4) and isinstance(semantic, Logits)
    assert torch.allclose(panoptic.masks, masks[0, 0], atol=1e-4)
    assert side.predict('semantic', semantic).pred_sem_seg.sem_seg.shape == (1, 64, 96)
    assert len(side.predict('instance', semantic).pred_instances) > 0


def test_mask2former__its_attention_on_a_gpu_is_that_of_mmcv():
    shapes = torch.tensor([[4, 6], [2, 3]])
    value, locations = torch.randn(2, 30, 2, 8), torch.rand(2, 5, 2, 2, 4, 2)
    weights = torch.rand(2, 5, 2, 2, 4)
    ours = DeformableAttention.apply(value, shapes, torch.tensor([0, 24]), locations, weights, 64)
    theirs = multi_scale_deform_attn.multi_scale_deformable_attn_pytorch(value, shapes, locations, weights)
    torch.testing.assert_close(ours, theirs)


def test_mask2former__calls_it_on_a_gpu(cfg, model):
    build_mask2former(cfg, model)
    assert multi_scale_deform_attn.MultiScaleDeformableAttnFunction is DeformableAttention
