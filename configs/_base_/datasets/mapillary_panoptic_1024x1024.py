"""Mapillary Vistas 1.2 panoptic in crops of 1024 x 1024; tests with the longer side at most 2048.

Semantic and panoptic targets are drawn, never instance ones, and AP is not measured: so it is in the reference code.
"""

data_root = 'data/mapillary/'
num_classes = 65
# fmt: off
thing_ids = (
    0, 1, 8, 19, 20, 21, 22, 23, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53,
    54, 55, 56, 57, 59, 60, 61, 62,
)
# fmt: on

train_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='LoadPanopticIds'),
    dict(type='RandomShortestEdgeCrop', size=(1024, 1024), edge=2048),
    dict(type='RandomColorDistortion'),
    dict(type='RandomHorizontalFlip', prob=0.5),
    dict(type='PadTo', size=(1024, 1024)),
    dict(type='SampleTask', probs=dict(semantic=0.5, panoptic=0.5)),
    dict(type='TaskTargets'),
    dict(type='DescribeTargets', template='photo'),
    dict(type='PackOneFormerInputs'),
]
test_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='ShortestEdge', size=2048, max_size=2048),
    dict(type='LoadPanopticIds'),
    dict(type='PackOneFormerInputs'),
]
tta = dict(sides=(512, 768, 1024, 1280, 1536, 1792), max_size=4096, flip=True)
train_dataloader = dict(
    batch_size=2,
    num_workers=10,
    persistent_workers=True,
    sampler=dict(type='PassSampler', shuffle=True),
    dataset=dict(
        type='MapillaryPanoptic',
        data_root=data_root,
        ann_file='training/panoptic/panoptic_2018.json',
        data_prefix=dict(img='training/images/', seg='training/panoptic/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='MapillaryPanoptic',
        data_root=data_root,
        ann_file='validation/panoptic/panoptic_2018.json',
        data_prefix=dict(img='validation/images/', seg='validation/panoptic/'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = [
    dict(type='PanopticQuality'),
    dict(type='MeanIoU'),
]
test_evaluator = val_evaluator

max_iters = 300000
train_cfg = dict(type='ResumableIterLoop', max_iters=max_iters, val_interval=30000)
# mmengine is at the end value one step before `end`; as written here the rate is the reference's at every iteration.
param_scheduler = [dict(type='PolyLR', begin=0, end=max_iters + 1, by_epoch=False, power=0.9, eta_min=0.0)]
