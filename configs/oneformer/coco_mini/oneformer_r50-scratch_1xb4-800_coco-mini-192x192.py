"""OneFormer, ResNet-50 from random weights, overfitting 26 real photos: a check of the whole path, not a model to use.

Needs:      data/coco_mini, photos and panoptic annotations laid out as COCO's (train2017, val2017, annotations).
Command:    python tools/train.py configs/oneformer/coco_mini/oneformer_r50-scratch_1xb4-800_coco-mini-192x192.py
Expect:     the training photos are learned by heart (dev/log.md), the validation photos are not.
"""

_base_ = ['../../_base_/models/oneformer_r50.py', '../../_base_/datasets/coco_panoptic_lsj.py']
channels = 128
ffn_channels = 512
max_iters = 800

model = dict(
    thing_ids=_base_.thing_ids,
    backbone=dict(norm_cfg=dict(type='BN', requires_grad=True), norm_eval=False, init_cfg=None),
    head=dict(
        num_classes=_base_.num_classes,
        num_queries=50,
        channels=channels,
        pixel_decoder=dict(num_layers=3, ffn_channels=ffn_channels, dropout=0.0),
        query_initializer=dict(ffn_channels=ffn_channels, dropout=0.0),
        decoder=dict(num_layers=3, ffn_channels=ffn_channels),
    ),
    text_mapper=dict(num_context=8, width=128, num_layers=3),
    criterion=dict(num_points=1024),
    test_cfg=dict(object_mask_thr=0.5),
)

fixed_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='LoadPanopticIds'),
    dict(type='ShortestEdge', size=192, max_size=288),
    dict(type='SampleTask', probs=dict(semantic=0.33, instance=0.33, panoptic=0.34)),
    dict(type='TaskTargets'),
    dict(type='DescribeTargets', template='photo'),
    dict(type='PackOneFormerInputs'),
]
test_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='ShortestEdge', size=192, max_size=288),
    dict(type='LoadPanopticIds'),
    dict(type='PackOneFormerInputs'),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    dataset=dict(data_root='data/coco_mini/', filter_empty=False, pipeline=fixed_pipeline),
)
val_dataloader = dict(num_workers=1, dataset=dict(data_root='data/coco_mini/', pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = [dict(type='PanopticQuality'), dict(type='InstanceAP'), dict(type='MeanIoU')]
test_evaluator = val_evaluator

optim_wrapper = dict(
    optimizer=dict(lr=5e-4, weight_decay=0.0),
    paramwise_cfg=dict(backbone_multiplier=1.0),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type='LinearLR', begin=0, end=50, start_factor=0.01, by_epoch=False),
    dict(type='PolyLR', begin=50, end=max_iters, power=0.9, eta_min=0, by_epoch=False),
]
train_cfg = dict(max_iters=max_iters, val_interval=800)
auto_scale_lr = dict(base_batch_size=4)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=200))
randomness = dict(seed=0)
