"""The whole model: losses, predictions, tokens, independence of tasks, other backbones."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch.testing import assert_close

from mmseg_oneformer.models.layers import sine_position_encoding
from mmseg_oneformer.models.oneformer import collect_targets
from mmseg_oneformer.tasks import PROMPT_TOKENS, TASKS


def forward_logits(model, images, tasks):
    """Class (B, T, N, K+1) and mask logits (B, T, N, h, w) of the last layer."""
    output = model.head(model.extract_feat(images), tasks, every_layer=False)
    return output.class_logits[-1], output.mask_logits()


@torch.no_grad()
def test_head__tasks_do_not_depend_on_each_other(build):
    model = build().eval()
    images = torch.randn(2, 3, 64, 96)
    together = forward_logits(model, images, [TASKS] * 2)
    for t, task in enumerate(TASKS):
        alone = forward_logits(model, images, [(task,)] * 2)
        for all_tasks, single in zip(together, alone, strict=True):
            assert_close(all_tasks[:, [t]], single, rtol=0, atol=1e-5)
    mixed = forward_logits(model, images, [('panoptic',), ('semantic',)])  # each image its own task, as in training
    assert_close(mixed[1][0, 0], together[1][0, 2], rtol=0, atol=1e-5)
    assert_close(mixed[1][1, 0], together[1][1, 0], rtol=0, atol=1e-5)


@torch.no_grad()
def test_head__images_do_not_depend_on_each_other(build):
    model = build().eval()
    images = torch.randn(3, 3, 64, 96)
    together = forward_logits(model, images, [TASKS] * 3)
    alone = forward_logits(model, images[1:2], [TASKS])
    for batch, single in zip(together, alone, strict=True):
        assert_close(batch[1:2], single, rtol=0, atol=1e-5)


@torch.no_grad()
def test_head__last_layer_alone_is_the_last_of_all(build):
    model = build().eval()
    features = model.extract_feat(torch.randn(1, 3, 64, 64))
    every, last = (model.head(features, [TASKS], every_layer=every) for every in (True, False))
    assert (len(every.class_logits), len(last.class_logits)) == (4, 1)
    assert torch.equal(every.class_logits[-1:], last.class_logits)
    assert torch.equal(every.mask_logits(), last.mask_logits())


@torch.no_grad()
def test_query_initializer__values_are_positions_by_default(build):
    """REF: image content enters through the keys only. With keys held constant another image changes nothing."""
    torch.manual_seed(0)
    features = torch.randn(2, 1, 32, 8, 12)
    for values, same in (('position', True), ('features', False)):
        initializer = build(head__query_initializer__values=values).head.query_initializer.eval()
        width = initializer.layers[0].cross_attn.in_proj_weight.shape[1]
        for layer in initializer.layers:
            layer.cross_attn.in_proj_weight[width : 2 * width] = 0  # keys are their bias everywhere
        start, positions = torch.randn(1, 1, 11, 32), torch.randn(11, 32)
        one, other = (initializer(start, positions, image) for image in features)
        assert torch.equal(one, other) == same


@torch.no_grad()
def test_task_token__is_last_and_normalised_by_the_decoder(build):
    model = build().eval()
    head = model.head
    with torch.no_grad():
        head.decoder.norm.weight.uniform_(0.5, 2)
        head.decoder.norm.bias.uniform_(-1, 1)
    queries = head.initial_queries(torch.randn(1, 32, 16, 16), [TASKS])
    for t, task in enumerate(TASKS):
        ids = torch.zeros(77)
        ids[: len(PROMPT_TOKENS[task])] = torch.tensor(PROMPT_TOKENS[task], dtype=torch.float32)
        expected = head.decoder.norm(head.task_token.mlp(ids))
        assert_close(queries[0, t, -1], expected, rtol=1e-5, atol=1e-5)


def test_task_token__unknown_task(build):
    with pytest.raises(ValueError, match='unknown task'):
        build().head.task_token([('semantics',)], torch.nn.LayerNorm(32))


def total(losses):
    return sum(value for name, value in losses.items() if 'loss' in name)


@pytest.mark.parametrize('num_targets', [(3, 2), (0, 3), (0, 0), (20, 15)], ids=['usual', 'one', 'none', 'too many'])
def test_loss__finite_and_every_parameter_touched(build, make_batch, losses, num_targets):
    model = build()
    named = losses(model, make_batch(num_targets))
    assert len(named) == 4 * 3 + 1
    assert all(value.isfinite() for value in named.values())
    if not sum(num_targets):
        assert all(value == 0 for name, value in named.items() if 'mask' in name or 'dice' in name)
    total(named).backward()
    untouched = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not untouched


def test_loss__falls_when_trained(build, make_batch, losses):
    model = build()
    batch = make_batch((3, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    history = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = total(losses(model, batch))
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.8 * history[0]


def test_loss__inference_model_says_why_not(build, make_batch, losses):
    model = build(text_mapper=None, criterion=None)
    with pytest.raises(ValueError, match='built for inference'):
        losses(model, make_batch())


def test_loss__pipeline_without_texts_is_named(build, make_batch, losses):
    batch = make_batch()
    for sample in batch['data_samples']:
        sample.pop('texts')
    with pytest.raises(ValueError, match='add DescribeTargets'):
        losses(build(), batch)


def test_loss__bf16_autocast_is_finite_and_the_token_exact(build, make_batch, losses):
    model = build()
    norm = model.head.decoder.norm
    exact = model.head.task_token([TASKS], norm)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(model.head.task_token([TASKS], norm), exact)
        assert model.head.task_token([TASKS], norm).dtype == torch.float32
        named = losses(model, make_batch())
        assert all(value.isfinite() and value.dtype == torch.float32 for value in named.values())
    total(named).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    plain = losses(model, make_batch())
    assert abs(total(named) - total(plain)) < 0.15 * total(plain)


def test_collect_targets__pads_with_none(make_batch):
    samples = make_batch((3, 2), size=(64, 96))['data_samples']
    samples[1].gt_targets = type(samples[1].gt_targets)(index_map=torch.zeros(1, 32, 40, dtype=torch.int16))
    targets = collect_targets(samples, (64, 96))
    assert targets.index_map.dtype == torch.int16
    assert torch.equal(targets.index_map[0], samples[0].gt_targets.index_map[0])
    assert (targets.index_map[1, :32, :40] == 0).all()
    assert (targets.index_map[1, 32:] == -1).all()
    assert (targets.index_map[1, :, 40:] == -1).all()


def predictions(samples):
    """Everything the model wrote into data samples, comparable."""
    written = []
    for sample in samples:
        instances = sample.pred_instances
        written.append(
            (
                sample.pred_sem_seg.sem_seg,
                instances.labels,
                instances.scores,
                instances.bboxes,
                instances.masks,
                sample.pred_panoptic_seg.sem_seg,
            )
        )
    return written


def equal(ones, others):
    """Equal up to rounding: the number of tasks in a pass changes the order of sums."""
    return all(
        a.shape == b.shape and torch.allclose(a.double(), b.double(), rtol=1e-5, atol=1e-6)
        for one, other in zip(ones, others, strict=True)
        for a, b in zip(one, other, strict=True)
    )


@pytest.fixture
def confident(build):
    """Build a model whose queries claim classes, so that no prediction is empty; float64: rounding moves no pixel."""

    def make(**test_cfg):
        model = (
            build(test_cfg={'object_mask_thr': 0.1, 'overlap_thr': 0.1, 'max_per_image': 20, **test_cfg})
            .eval()
            .double()
        )
        with torch.no_grad():
            model.head.decoder.class_embed.weight.mul_(6)
            model.head.decoder.class_embed.bias[-1] = -8
            model.head.query_embed.weight.mul_(3)
        return model

    return make


def predict(model, batch, method='predict', **kwargs):
    data = model.data_preprocessor(batch)
    images = data['inputs'].to(next(model.parameters()).dtype)
    with torch.no_grad():
        return getattr(model, method)(images, data['data_samples'], **kwargs)


def test_predict__fields_and_sizes(confident, make_batch):
    model = confident()
    for sample in predict(model, make_batch()):
        size = sample.ori_shape
        semantic, instances, panoptic = sample.pred_sem_seg, sample.pred_instances, sample.pred_panoptic_seg
        assert semantic.sem_seg.shape == panoptic.sem_seg.shape == (1, *size)
        assert semantic.sem_seg.dtype == torch.int64
        assert panoptic.sem_seg.dtype == torch.int32
        assert torch.equal(semantic.sem_seg, semantic.data)
        assert torch.equal(panoptic.sem_seg, panoptic.data)
        assert 0 <= semantic.sem_seg.min() <= semantic.sem_seg.max() < 5
        assert instances.masks.shape == (len(instances), *size)
        assert instances.masks.dtype == torch.bool
        assert len(instances) > 0
        assert set(instances.labels.tolist()) <= {0, 1, 2}
        segments = panoptic.metainfo['segments_info']
        assert segments
        assert {segment['id'] for segment in segments} == set(panoptic.sem_seg.unique().tolist()) - {5}
        assert all(segment['isthing'] == (segment['category_id'] < 3) for segment in segments)


def test_predict__network_size_on_request(confident, make_batch):
    (sample,) = predict(confident(), make_batch((1,), size=(50, 70)), rescale=False)
    assert sample.pred_sem_seg.sem_seg.shape == (1, 50, 70)


@pytest.mark.parametrize('task', TASKS)
def test_predict__only_what_was_asked(confident, make_batch, task):
    everything = predict(confident(), make_batch())
    only = predict(confident(tasks=(task,)), make_batch())
    fields = {'semantic': 'pred_sem_seg', 'instance': 'pred_instances', 'panoptic': 'pred_panoptic_seg'}
    for one, every in zip(only, everything, strict=True):
        assert {name for name in fields.values() if name in one} == {fields[task]}
        if task == 'instance':
            assert torch.equal(one.pred_instances.masks, every.pred_instances.masks)
        else:
            assert torch.equal(one.get(fields[task]).sem_seg, every.get(fields[task]).sem_seg)


def test_predict_tokens__equals_three_forced_predictions(confident, make_batch):
    table = predict(confident(), make_batch(), 'predict_tokens', tokens=TASKS)
    assert tuple(table) == TASKS
    forced = {token: predict(confident(token=token), make_batch()) for token in TASKS}
    for token in TASKS:
        assert equal(predictions(table[token]), predictions(forced[token]))
    assert not equal(predictions(forced['semantic']), predictions(forced['instance']))
    own = predict(confident(), make_batch())
    for mine, semantic, instance, panoptic in zip(own, *forced.values(), strict=True):
        assert torch.equal(mine.pred_sem_seg.sem_seg, semantic.pred_sem_seg.sem_seg)
        assert torch.equal(mine.pred_instances.masks, instance.pred_instances.masks)
        assert torch.equal(mine.pred_panoptic_seg.sem_seg, panoptic.pred_panoptic_seg.sem_seg)


def test_predict_tokens__leaves_the_given_samples_alone(confident, make_batch):
    model = confident()
    data = model.data_preprocessor(make_batch())
    with torch.no_grad():
        table = model.predict_tokens(data['inputs'].double(), data['data_samples'], tokens=('panoptic',))
    assert list(table) == ['panoptic']
    assert all('pred_sem_seg' not in sample for sample in data['data_samples'])


@pytest.mark.parametrize('change', [{'tasks': ('semantics',)}, {'token': 'panoptik'}, {'tasks': ()}])
def test_predict__wrong_task_name(confident, make_batch, change):
    with pytest.raises(ValueError, match='choose from semantic, instance, panoptic'):
        predict(confident(**change), make_batch())


@torch.no_grad()
def test_forward__tensor_mode(build):
    model = build().eval()
    classes, masks = model(torch.randn(2, 3, 64, 96), mode='tensor')
    assert classes.shape == (2, 3, 12, 6)
    assert masks.shape == (2, 3, 12, 16, 24)


BACKBONES = {
    'mmseg': (
        {
            'type': 'mmseg.MixVisionTransformer',
            'embed_dims': 8,
            'num_layers': [1, 1, 1, 1],
            'num_heads': [1, 2, 2, 4],
        },
        (8, 16, 16, 32),
    ),
    'timm': (
        {
            'type': 'mmseg.TIMMBackbone',
            'model_name': 'convnext_atto',
            'features_only': True,
            'pretrained': False,
            'out_indices': (0, 1, 2, 3),
            'depths': (1, 1, 1, 1),
            'dims': (8, 16, 24, 32),
        },
        (8, 16, 24, 32),
    ),
}


@pytest.mark.parametrize('library', BACKBONES)
def test_backbone__of_another_library(build, make_batch, losses, library):
    backbone, widths = BACKBONES[library]
    model = build(backbone=backbone, head__pixel_decoder__in_channels=widths)
    named = losses(model, make_batch())
    assert all(value.isfinite() for value in named.values())
    total(named).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    for sample in predict(model.eval(), make_batch()):
        assert sample.pred_sem_seg.sem_seg.shape == (1, *sample.ori_shape)


def test_backbone__needs_four_levels(build):
    with pytest.raises(ValueError, match='4 levels'):
        build(head__pixel_decoder__in_channels=(8, 16, 32))


@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('values', ['position', 'features'])
@pytest.mark.parametrize('grad', [True, False])
def test_query_initializer__merged_projections_equal_one_after_the_other(values, bias, grad):
    initializer = MODELS.build(
        {'type': 'QueryInitializer', 'channels': 16, 'values': values, 'ffn_channels': 8}
    ).double()
    if not bias:
        initializer.input_proj.bias = None
    attention = initializer.layers[0].cross_attn
    torch.nn.init.normal_(attention.in_proj_bias)
    maps = torch.randn(2, 16, 3, 5, dtype=torch.float64)
    with torch.set_grad_enabled(grad):
        keys, found = initializer.keys_and_values(attention, maps)
        features = initializer.input_proj(maps).flatten(2).mT
        position = sine_position_encoding((3, 5), 16, maps).flatten(1).T[None]
        _, key, value = attention.projections()
        assert_close(keys, F.linear(features + position, *key))
        assert_close(found, F.linear(position if values == 'position' else features, *value))
