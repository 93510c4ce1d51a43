"""The baseline: mmdet's Mask2Former on our targets, with our predictions."""

from types import SimpleNamespace as Name

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config, ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, TRANSFORMS
from mmengine.structures import InstanceData, PixelData
from torch import nn

from mmseg_oneformer.engine.hooks import CheckClasses
from mmseg_oneformer.zoo.configs import config_root

K, CHANNELS, HEIGHT, WIDTH = 5, 32, 64, 96
PIPELINE = ('TaskTargets', 'DescribeTargets', 'PackOneFormerInputs', 'TargetMasks')


def tiny_config(**changes):
    """The shipped base config with cut widths and depths."""
    model = Config.fromfile(config_root() / '_base_/models/mask2former_r50.py').model
    model.update(dict(num_classes=K, thing_ids=(0, 1, 2)) | changes)
    model.backbone = ConfigDict(type='mmdet.ResNet', depth=18, base_channels=8, norm_cfg=dict(type='GN', num_groups=4))
    head = model.panoptic_head
    head.update(in_channels=[8, 16, 32, 64], feat_channels=CHANNELS, out_channels=CHANNELS, num_queries=12)
    head.positional_encoding.num_feats = head.pixel_decoder.positional_encoding.num_feats = CHANNELS // 2
    head.pixel_decoder.norm_cfg.num_groups = 4
    for part, layers in ((head.pixel_decoder.encoder, 1), (head.transformer_decoder, 2)):
        part.num_layers = layers
        for block in part.layer_cfg.values():
            block.update(embed_dims=CHANNELS)
            block.update(dict(num_heads=4) if 'num_heads' in block else dict(feedforward_channels=48))
    model.train_cfg.num_points = 64
    return model


@pytest.fixture
def build():
    def make(**changes):
        torch.manual_seed(0)
        model = MODELS.build(tiny_config(**changes))
        model.init_weights()
        return model.train()

    return make


def segments(*entries):
    """Map (h, w) and table of segments (label, isthing, iscrowd, (top, left, bottom, right))."""
    segment_map = np.zeros((HEIGHT, WIDTH), np.int32)
    table = []
    for number, (label, isthing, iscrowd, (top, left, bottom, right)) in enumerate(entries, start=1):
        segment_map[top:bottom, left:right] = number
        table.append(dict(id=number, label=label, isthing=isthing, iscrowd=iscrowd))
    return segment_map, table


SCENE = segments(
    (3, False, False, (0, 0, 20, 96)),
    (1, True, False, (20, 0, 64, 40)),
    (4, False, False, (20, 40, 64, 60)),
    (1, True, False, (20, 60, 50, 80)),
    (0, True, True, (50, 60, 64, 96)),
    (3, False, False, (20, 80, 50, 96)),
)
EMPTY = segments((2, True, True, (0, 0, 64, 96)))


def training_batch(*drawn):
    """Batch of images (H, W) in order; ``drawn`` are pairs of scene and task."""
    batch = {'inputs': [], 'data_samples': []}
    for number, ((segment_map, table), task) in enumerate(drawn):
        image = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        shapes = dict(img_shape=(HEIGHT, WIDTH), ori_shape=(HEIGHT, WIDTH))
        results = dict(img=image, gt_seg_map=segment_map, segments_info=table, task=task, **shapes)
        results.update(classes=tuple('abcde'), thing_ids=(0, 1, 2))
        for step in PIPELINE:
            results = TRANSFORMS.build(dict(type=step)).transform(results)
        batch['inputs'].append(results['inputs'])
        batch['data_samples'].append(results['data_samples'])
    return batch


def losses(model, batch, seed=3):
    data = model.data_preprocessor(batch, training=True)
    torch.manual_seed(seed)  # the points
    return model(data['inputs'], data['data_samples'], mode='loss')


def as_mmdet(batch, task):
    """The same images as mmdet's own pipeline packs them: boxes of things first, stuff in a class map."""
    segment_map, table = SCENE
    is_thing = [s['isthing'] and not s['iscrowd'] for s in table]
    things = [(s['label'], segment_map == k) for k, s in enumerate(table, start=1) if is_thing[k - 1]]
    sample = DetDataSample(metainfo=dict(img_shape=(HEIGHT, WIDTH), ori_shape=(HEIGHT, WIDTH)))
    sample.gt_instances = InstanceData(
        labels=torch.tensor([label for label, _ in things]),
        masks=BitmapMasks(np.stack([mask for _, mask in things]).astype(np.uint8), HEIGHT, WIDTH),
    )
    if task == 'panoptic':
        classes = np.array([255] + [s['label'] for s in table])[segment_map]
        sample.gt_sem_seg = PixelData(sem_seg=torch.from_numpy(classes)[None])
    return {'inputs': batch['inputs'], 'data_samples': [sample]}


@pytest.mark.parametrize('task', ['instance', 'panoptic'])
def test_loss__equals_mmdets_own_path(build, task):
    """mmdet's panoptic path merges the two parts of stuff class 3, and wants things first and a class map."""
    ours = build()
    config = tiny_config()
    classes = dict(num_things_classes=3, num_stuff_classes=2)
    config.panoptic_head.update(classes)
    config.panoptic_head.loss_cls.class_weight = [1.0] * K + [0.1]
    config.update(type='mmdet.Mask2Former', panoptic_fusion_head=dict(type='mmdet.MaskFormerFusionHead', **classes))
    for key in ('num_classes', 'thing_ids', 'no_object_weight'):
        config.pop(key)
    theirs = MODELS.build(config).train()
    theirs.load_state_dict(ours.state_dict())

    # Segments as the panoptic task of the reference has them: one of class 3, so that both have the same targets.
    segment_map, table = SCENE
    merged = (np.where(segment_map == 6, 1, segment_map), table[:5])
    batch = training_batch((merged, task))
    expected = losses(theirs, as_mmdet(batch, task))
    found = losses(ours, batch)
    assert found.keys() == expected.keys() and len(found) == 9
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_loss__joint_batch_has_the_targets_of_each_images_task():
    batch = training_batch((SCENE, 'semantic'), (SCENE, 'instance'), (SCENE, 'panoptic'))
    labels = [sample.gt_instances.labels.tolist() for sample in batch['data_samples']]
    assert labels == [[3, 1, 4], [1, 1], [3, 1, 4, 1, 3]]
    areas = [sample.gt_instances.masks.areas.tolist() for sample in batch['data_samples']]
    assert areas[0] == [20 * 96 + 30 * 16, 44 * 40 + 30 * 20, 44 * 20]
    assert areas[1] == [44 * 40, 30 * 20]
    assert all('gt_targets' not in sample for sample in batch['data_samples'])


@pytest.mark.parametrize('scenes', [(SCENE, EMPTY), (EMPTY, EMPTY)], ids=['one image', 'all images'])
def test_loss__images_without_targets(build, scenes):
    model = build()
    named = losses(model, training_batch(*[(scene, 'panoptic') for scene in scenes]))
    assert all(value.isfinite() for value in named.values())
    sum(named.values()).backward()
    assert not [
        name for name, parameter in model.named_parameters() if parameter.requires_grad and parameter.grad is None
    ]


def test_predict__three_predictions_with_scattered_things(build, monkeypatch):
    """Four queries own a quarter of the picture each: stuff 0, thing 1, stuff 2, thing 1."""
    model = build(thing_ids=(1, 3), test_cfg=dict(object_mask_thr=0.5)).eval()
    masks = torch.full((1, 4, 16, 24), -9.0)
    for query, columns in enumerate(torch.arange(24).chunk(4)):
        masks[0, query, :, columns] = 9.0
    classes = torch.zeros(1, 4, K + 1)
    for query, label in enumerate((0, 1, 2, 1)):
        classes[0, query, label] = 8.0
    monkeypatch.setattr(model.panoptic_head, 'forward', lambda *_: ([classes * 0, classes], [masks * 0, masks]))

    sample = DetDataSample(metainfo=dict(img_shape=(64, 96), ori_shape=(64, 96)))
    (prediction,) = model.predict(torch.zeros(1, 3, 64, 96), [sample])
    middle = [12, 36, 60, 84]
    assert prediction.pred_sem_seg.sem_seg[0, 30, middle].tolist() == [0, 1, 2, 1]
    assert [s['category_id'] for s in prediction.pred_panoptic_seg.segments_info] == [0, 1, 2, 1]
    assert [s['isthing'] for s in prediction.pred_panoptic_seg.segments_info] == [False, True, False, True]
    assert prediction.pred_panoptic_seg.sem_seg[0, 30, middle].tolist() == [1000, 1001, 1002, 2001]
    best = prediction.pred_instances[prediction.pred_instances.scores > 0.5]
    assert best.labels.tolist() == [1, 1] and set(prediction.pred_instances.labels.tolist()) <= {1, 3}
    assert best.masks[:, 30, middle].sum(0).tolist() == [0, 1, 0, 1]

    (one,) = model.predict(torch.zeros(1, 3, 64, 96), [DetDataSample(metainfo=sample.metainfo)], tasks=('instance',))
    assert 'pred_instances' in one and 'pred_sem_seg' not in one and 'pred_panoptic_seg' not in one


def test_predict__size_of_the_photo_or_of_the_input(build):
    model = build().eval()
    meta = dict(img_shape=(60, 90), ori_shape=(50, 70))
    for rescale, size in ((True, (50, 70)), (False, (60, 90))):
        with torch.no_grad():
            (prediction,) = model.predict(torch.randn(1, 3, 64, 96), [DetDataSample(metainfo=meta)], rescale=rescale)
        assert prediction.pred_sem_seg.sem_seg.shape[1:] == prediction.pred_instances.masks.shape[1:] == size


def test_base_config__has_no_dropout():
    """As Mask2Former's own configs, and unlike OneFormer's pixel decoder."""
    model = MODELS.build(tiny_config())
    drops = [module.p for module in model.modules() if isinstance(module, nn.Dropout)]
    attention = [module.dropout for module in model.modules() if isinstance(module, nn.MultiheadAttention)]
    assert len(drops) > 10 and len(attention) == 4 and not any(drops) and not any(attention)


def test_token__is_rejected(build):
    with pytest.raises(ValueError, match='leave out --token'):
        build(test_cfg=dict(token='panoptic'))


def test_target_masks__without_targets():
    with pytest.raises(ValueError, match='PackOneFormerInputs before it'):
        TRANSFORMS.build(dict(type='TargetMasks')).transform({'data_samples': DetDataSample()})


def test_check_classes__knows_the_baseline(build):
    def runner(**meta):
        return Name(model=build(), train_loop=Name(dataloader=Name(dataset=Name(metainfo=meta))))

    CheckClasses().before_train(runner(classes=tuple('abcde'), thing_ids=(0, 1, 2)))
    with pytest.raises(ValueError, match=r'set model\.num_classes=2'):
        CheckClasses().before_train(runner(classes=('a', 'b'), thing_ids=(0,)))


def test_optimiser__groups(build):
    """As in Mask2Former's own training: a tenth of the rate for the backbone, no decay of norms and embeddings."""
    config = Config.fromfile(config_root() / '_base_/models/mask2former_r50.py').optim_wrapper
    model = build()
    wrapper = build_optim_wrapper(model, config)
    group_of = {
        id(parameter): (group['lr'], group['weight_decay'])
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }
    found = {name: group_of[id(parameter)] for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert len(wrapper.optimizer.param_groups) == 4 and len(found) == len(group_of)
    assert found['backbone.conv1.weight'] == (pytest.approx(1e-5), 0.05)
    assert found['panoptic_head.cls_embed.bias'] == (1e-4, 0.05)
    assert found['panoptic_head.mask_embed.0.weight'] == (1e-4, 0.05)
    for name in ('query_feat', 'query_embed', 'level_embed', 'pixel_decoder.level_encoding'):
        assert found[f'panoptic_head.{name}.weight'] == (1e-4, 0.0)
    assert found['panoptic_head.transformer_decoder.post_norm.weight'] == (1e-4, 0.0)
    assert {decay for name, (_, decay) in found.items() if '.bn' in name or '.norms.' in name} == {0.0}
