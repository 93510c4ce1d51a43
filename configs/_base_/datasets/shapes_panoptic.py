"""Drawn landscapes with balls, boxes, cones and stars, 96 x 96.

Made by: python tools/dataset_converters/make_shapes.py --out data/shapes
"""

data_root = 'data/shapes/'
num_classes = 7
thing_ids = (3, 4, 5, 6)

train_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='LoadPanopticIds'),
    dict(type='RandomHorizontalFlip', prob=0.5),
    dict(type='RandomColorDistortion'),
    dict(type='SampleTask', probs=dict(semantic=0.33, instance=0.33, panoptic=0.34)),
    dict(type='TaskTargets'),
    dict(type='DescribeTargets', template='photo'),
    dict(type='PackOneFormerInputs'),
]
test_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='ShortestEdge', size=96, max_size=384),
    dict(type='LoadPanopticIds'),
    dict(type='PackOneFormerInputs'),
]
tta = dict(sides=(48, 72, 96, 120, 144, 168), max_size=672, flip=True)
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='PassSampler', shuffle=True),
    dataset=dict(
        type='ShapesPanoptic',
        data_root=data_root,
        ann_file='annotations/panoptic_train.json',
        data_prefix=dict(img='train/', seg='annotations/panoptic_train/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ShapesPanoptic',
        data_root=data_root,
        ann_file='annotations/panoptic_val.json',
        data_prefix=dict(img='val/', seg='annotations/panoptic_val/'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = [
    dict(type='PanopticQuality'),
    dict(type='InstanceAP'),
    dict(type='MeanIoU'),
]
test_evaluator = val_evaluator

max_iters = 6000
train_cfg = dict(type='ResumableIterLoop', max_iters=max_iters, val_interval=1000)
param_scheduler = [
    dict(type='LinearLR', begin=0, end=300, start_factor=0.01, by_epoch=False),
    dict(type='PolyLR', begin=300, end=max_iters, power=0.9, eta_min=0, by_epoch=False),
]
