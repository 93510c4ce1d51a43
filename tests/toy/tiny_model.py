"""A tiny model with a config file and weights, as a user has them."""

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

CONFIG = """
default_scope = 'mmdet'
classes = ('disc', 'box', 'sky', 'grass')
metainfo = dict(
    classes=classes, thing_ids=(0, 1), palette=[(220, 60, 60), (70, 90, 220), (90, 180, 230), (90, 170, 70)])
model = dict(
    type='OneFormer',
    thing_ids=(0, 1),
    data_preprocessor=dict(
        type='mmdet.DetDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True,
        pad_size_divisor=32),
    backbone=dict(type='mmdet.ResNet', depth=18, base_channels=8, stem_channels=8, out_indices=(0, 1, 2, 3)),
    head=dict(
        type='OneFormerHead', num_classes=4, num_queries=12, channels=32,
        pixel_decoder=dict(
            type='OneFormerPixelDecoder', in_channels=[8, 16, 32, 64], num_layers=1, num_heads=4, ffn_channels=32),
        query_initializer=dict(type='QueryInitializer', num_layers=1, num_heads=4, ffn_channels=32),
        decoder=dict(type='MaskedDecoder', num_layers=3, num_heads=4, ffn_channels=32)),
    test_cfg=dict(object_mask_thr=0.3, overlap_thr=0.3, max_per_image=20))
test_pipeline = [
    dict(type='LoadPhoto'), dict(type='ShortestEdge', size=64, max_size=128), dict(type='LoadPanopticIds'),
    dict(type='PackOneFormerInputs')]
test_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='PanopticDataset', ann_file='not/there.json', metainfo=metainfo, test_mode=True, pipeline=test_pipeline))
visualizer = dict(type='OneFormerVisualizer', name='tiny')
"""

SCALES = {
    'head.query_embed.weight': 5.0,
    'head.decoder.class_embed.weight': 3.0,
    'head.decoder.mask_embed.layers.2.weight': 0.6,
    'head.decoder.mask_embed.layers.1.weight': 0.4,
    'head.decoder.mask_embed.layers.0.weight': 0.4,
}
"""Spread of the weights that make queries differ in class and mask, so that there is an answer to compare."""


def write_tiny_model(folder):
    """Paths of the config and of the weights, which are random but sure of themselves."""
    config = folder / 'tiny.py'
    config.write_text(CONFIG)
    torch.manual_seed(0)
    cfg = Config.fromfile(config)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
    state = model.state_dict()
    generator = torch.Generator().manual_seed(1)
    for key, scale in SCALES.items():
        state[key].copy_(torch.randn(state[key].shape, generator=generator) * scale)
    weights = folder / 'tiny.pth'
    meta = {'dataset_meta': {key: cfg.metainfo[key] for key in ('classes', 'thing_ids', 'palette')}}
    torch.save({'state_dict': state, 'meta': meta}, weights)
    return config, weights
