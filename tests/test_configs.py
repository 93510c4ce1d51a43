"""Every published config says what the reference code does."""

import ast
import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS, TRANSFORMS, init_default_scope

from mmseg_oneformer.zoo.configs import find_config
from mmseg_oneformer.zoo.metafile import read_zoo

ROOT = Path(__file__).resolve().parents[1]

# The reference code's configurations: what each backbone, data set and init_weights group says, typed from its files.
ALL, HALVES = {'semantic': 0.33, 'instance': 0.33, 'panoptic': 0.34}, {'semantic': 0.5, 'panoptic': 0.5}
DATA = {
    # K, shorter sides in training, longest side, crop, padding, test size, iterations, probabilities, T_obj, evaluation
    'ade20k-512x512': (150, 512, 2048, (512, 512), (512, 512), (512, 2048), 160_000, ALL, 0.5, 5000),
    'ade20k-640x640': (150, 640, 2560, (640, 640), (640, 640), (640, 2560), 160_000, ALL, 0.5, 5000),
    'ade20k-896x896': (150, 896, 3584, (896, 896), (896, 896), (896, 3584), 160_000, ALL, 0.5, 5000),
    'ade20k-1280x1280': (150, 1280, 5120, (1280, 1280), (1280, 1280), (1280, 5120), 160_000, ALL, 0.5, 5000),
    'cityscapes-512x1024': (19, 1024, 4096, (512, 1024), None, (1024, 2048), 90_000, ALL, 0.8, 5000),
    'coco-1024x1024': (133, None, None, (1024, 1024), None, (800, 1333), None, ALL, 0.8, 5000),
    'mapillary-1024x1024': (65, 2048, 8192, (1024, 1024), (1024, 1024), (2048, 2048), 300_000, HALVES, 0.8, 30_000),
}
REFERENCE = [name for name in read_zoo() if name.split('_')[-1] in DATA]
"""The models that the reference code has a configuration for."""
FEW_QUERIES = ('oneformer_r50_', 'oneformer_swin-t_', 'oneformer_dinat-l-coco-pre_')
COCO_STEPS = {
    'oneformer_r50_8xb2-50e_coco-1024x1024': (368_750, [327_778, 355_092]),
    'oneformer_swin-t_8xb2-50e_coco-1024x1024': (368_750, [327_778, 355_092]),
    'oneformer_swin-l_8xb2-100e_coco-1024x1024': (737_500, [655_556, 735_184]),
    'oneformer_dinat-l_8xb2-100e_coco-1024x1024': (737_500, [655_556, 710_184]),
}
DILATIONS = {
    'k11': '1,20,1 1,5,1,10 1,2,1,3,1,4,1,5,1,2,1,3,1,4,1,5,1,5 1,2,1,2,1',
    'k11-1280': '1,28,1 1,7,1,14 1,3,1,5,1,5,1,7,1,3,1,5,1,5,1,7,1,7 1,3,1,3,1',
    'k7': '1,18,1 1,5,1,9 1,2,1,3,1,4,1,2,1,3,1,4,1,2,1,3,1,4 1,2,1,2,1',
}
INITIAL_WEIGHTS = {
    'r50': 'torchvision://resnet50',
    'swin-t': 'swin_tiny_patch4_window7_224',
    'swin-l': 'swin_large_patch4_window12_384_22kto1k',
    'convnext-l': 'convnext_large_22k_1k_384',
    'convnext-xl': 'convnext_xlarge_22k_1k_384_ema',
    'dinat-l': 'dinat_large_in22k_in1k_384_11x11',
}
STARTS = {
    'oneformer_dinat-l-coco-pre_8xb2-160k_ade20k-1280x1280': 'oneformer_dinat-l_8xb2-100e_coco-1024x1024',
    'oneformer_convnext-l-mapillary-pre_8xb2-90k_cityscapes-512x1024': (
        'oneformer_convnext-l-all-tasks_8xb2-300k_mapillary-1024x1024'
    ),
    'oneformer_convnext-xl-mapillary-pre_8xb2-90k_cityscapes-512x1024': (
        'oneformer_convnext-xl-all-tasks_8xb2-300k_mapillary-1024x1024'
    ),
}


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmdet')


@pytest.fixture
def read():
    return lambda name: Config.fromfile(find_config(name))


def transforms(loader):
    """The built transforms by name, and those that they are made of."""
    steps = [TRANSFORMS.build(step) for step in loader.dataset.pipeline]
    parts = [getattr(step, part) for step in steps for part in ('resize', 'crop') if hasattr(step, part)]
    return {type(step).__name__: step for step in steps + parts}


def backbone_of(name):
    return name.split('_')[1].removesuffix('-all-tasks').removesuffix('-coco-pre').removesuffix('-mapillary-pre')


@pytest.mark.parametrize('name', REFERENCE)
def test_published__header(name):
    header = ast.get_docstring(ast.parse(find_config(name).read_text())).splitlines()
    assert {'Reproduces', 'Weights', 'Needs'} <= {line.split(':')[0] for line in header}
    without_amp = 'dinat' in name or name == 'oneformer_swin-l_8xb2-100e_coco-1024x1024'
    (command,) = [line for line in header if line.startswith('Command:')]
    assert command.endswith(f'{name} 8' if without_amp else f'{name} 8 --amp')


@pytest.mark.parametrize('name', REFERENCE)
def test_published__data_and_schedule(read, name):
    cfg = read(name)
    classes, base, longest, crop, pad, test_size, iterations, probs, threshold, interval = DATA[name.split('_')[-1]]
    if 'all-tasks' in name:
        probs = ALL
    train, test = transforms(cfg.train_dataloader), transforms(cfg.test_dataloader)
    assert cfg.model.head.num_classes == classes == cfg.num_classes and cfg.model.thing_ids == cfg.thing_ids
    assert cfg.model.head.num_queries == (150 if name.startswith(FEW_QUERIES) or 'coco-1024' in name else 250)
    if base:
        expected = tuple(int(0.1 * tenths * base) for tenths in range(5, 21))
        assert (train['RandomShortestEdge'].sizes, train['RandomShortestEdge'].max_size) == (expected, longest)
        assert train['RandomPanopticCrop'].size == crop
        assert (train['PadTo'].size if pad else train.get('PadTo')) == pad
    else:
        assert train['RandomScaleResize'].size == train['FixedSizeCrop'].size == crop
        assert train['RandomScaleResize'].scale == (0.1, 2.0)
    assert (test['ShortestEdge'].sizes, test['ShortestEdge'].max_size) == (test_size[:1], test_size[1])
    assert cfg.train_pipeline == cfg.train_dataloader.dataset.pipeline
    assert cfg.test_pipeline == cfg.val_dataloader.dataset.pipeline == cfg.test_dataloader.dataset.pipeline
    if 'ade20k' in name:
        sides = [base * quarters // 4 for quarters in range(2, 8)]
        assert cfg.tta == dict(sides=sides, max_size=7 * base, flip=True)
    assert train['SampleTask'].probs == probs
    assert cfg.model.test_cfg.object_mask_thr == threshold and cfg.model.test_cfg.overlap_thr == 0.8
    assert cfg.train_cfg.val_interval == interval
    assert cfg.train_dataloader.num_workers == (10 if 'mapillary-1024' in name else 4)
    (schedule,) = cfg.param_scheduler
    if name in COCO_STEPS:
        assert (cfg.train_cfg.max_iters, schedule.milestones) == COCO_STEPS[name]
        assert (schedule.type, schedule.gamma, schedule.end) == ('MultiStepLR', 0.1, cfg.train_cfg.max_iters)
    else:
        assert cfg.train_cfg.max_iters == iterations == schedule.end - 1
        assert (schedule.type, schedule.power, schedule.eta_min, schedule.begin) == ('PolyLR', 0.9, 0.0, 0)


@pytest.mark.parametrize('name', REFERENCE)
def test_published__what_all_share(read, name):
    cfg = read(name)
    optim, criterion = cfg.optim_wrapper, cfg.model.criterion
    assert (optim.optimizer.lr, optim.optimizer.weight_decay, optim.optimizer.type) == (1e-4, 0.05, 'AdamW')
    assert optim.paramwise_cfg.backbone_multiplier == 0.1 and 'clip_grad' not in optim
    assert optim.paramwise_cfg.get('backbone_norm_decay', False) == ('convnext' in name)
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 16
    assert (criterion.class_weight, criterion.mask_weight, criterion.dice_weight) == (2.0, 5.0, 5.0)
    assert criterion.auxiliary == [dict(type='ContrastiveLoss', level='image', weight=0.5)]
    assert (criterion.no_object_weight, criterion.num_points) == (0.1, 12544)
    text = cfg.model.text_mapper
    assert (text.num_context, text.width, text.num_layers) == (16, 256, 6)
    assert (cfg.model.head.decoder.num_layers, cfg.model.head.pixel_decoder.num_layers) == (9, 6)
    assert cfg.model.test_cfg.max_per_image is None  # as many as queries
    order = [transform.type for transform in cfg.train_dataloader.dataset.pipeline]
    first = ['LoadPhoto', 'LoadPanopticIds']
    augmentation = ['RandomShortestEdgeCrop', 'RandomColorDistortion', 'RandomHorizontalFlip', 'PadTo']
    if 'coco-1024' in name:
        augmentation = ['RandomHorizontalFlip', 'ResizeAndCrop']
    if 'cityscapes' in name:
        augmentation.remove('PadTo')
    assert order == [*first, *augmentation, 'SampleTask', 'TaskTargets', 'DescribeTargets', 'PackOneFormerInputs']
    metrics = {metric.type for metric in cfg.test_evaluator}
    assert bool({'InstanceAP', 'CityscapesAP'} & metrics) == ('mapillary-1024' not in name)
    assert {'PanopticQuality', 'MeanIoU'} <= metrics


@pytest.mark.parametrize('name', REFERENCE)
def test_published__backbone_and_initial_weights(read, name):
    cfg = read(name)
    backbone, kind = cfg.model.backbone, backbone_of(name)
    weights = INITIAL_WEIGHTS[kind]
    if kind == 'dinat-l':
        key = 'k7' if 'cityscapes' in name else 'k11-1280' if '1280' in name else 'k11'
        assert [list(map(int, stage.split(','))) for stage in DILATIONS[key].split()] == backbone.dilations
        assert backbone.kernel_size == (7 if key == 'k7' else 11)
        weights = 'dinat_large_in22k_224' if key == 'k7' else weights
    if kind == 'r50':
        trained = 'cityscapes' in name or 'mapillary' in name
        assert backbone.norm_cfg == dict(type='SyncBN' if trained else 'BN', requires_grad=trained)
        assert backbone.norm_eval == (not trained)
    assert weights in backbone.init_cfg.checkpoint
    assert cfg.model.get('init_cfg', {}).get('checkpoint') == STARTS.get(name)


def test_poly_schedule__golden_rates(read):
    golden = json.loads((ROOT / 'tests/data/golden.json').read_text())['counts']['poly_lr_160k_base1e-4']
    cfg = read('oneformer_r50_8xb2-160k_ade20k-512x512')
    (schedule,) = cfg.param_scheduler
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=cfg.optim_wrapper.optimizer.lr)
    scheduler = PARAM_SCHEDULERS.build(dict(schedule, optimizer=optimizer))
    for iteration in range(cfg.train_cfg.max_iters):
        if str(iteration) in golden:
            assert optimizer.param_groups[0]['lr'] == pytest.approx(golden.pop(str(iteration)), rel=1e-9)
        optimizer.step()
        scheduler.step()
    assert not golden
