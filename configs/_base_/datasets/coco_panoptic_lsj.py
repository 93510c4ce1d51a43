"""COCO 2017 panoptic with large-scale jittering to 1024 x 1024; tests at 800 / 1333."""

data_root = 'data/coco/'
num_classes = 133
thing_ids = tuple(range(80))

train_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='LoadPanopticIds'),
    dict(type='RandomHorizontalFlip', prob=0.5),
    dict(
        type='ResizeAndCrop',
        resize=dict(type='RandomScaleResize', scale=(0.1, 2.0), size=(1024, 1024)),
        crop=dict(type='FixedSizeCrop', size=(1024, 1024)),
    ),
    dict(type='SampleTask', probs=dict(semantic=0.33, instance=0.33, panoptic=0.34)),
    dict(type='TaskTargets'),
    dict(type='DescribeTargets', template='photo'),
    dict(type='PackOneFormerInputs'),
]
test_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='ShortestEdge', size=800, max_size=1333),
    dict(type='LoadPanopticIds'),
    dict(type='PackOneFormerInputs'),
]
tta = dict(sides=(400, 600, 800, 1000, 1200, 1400), max_size=2333, flip=True)  # ours; the paper has none for COCO
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='PassSampler', shuffle=True),
    dataset=dict(
        type='CocoPanoptic',
        data_root=data_root,
        ann_file='annotations/panoptic_train2017.json',
        data_prefix=dict(img='train2017/', seg='annotations/panoptic_train2017/'),
        filter_empty=True,
        instances='annotations/instances_train2017.json',  # where it is there: what filter_empty counts
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoPanoptic',
        data_root=data_root,
        ann_file='annotations/panoptic_val2017.json',
        data_prefix=dict(img='val2017/', seg='annotations/panoptic_val2017/'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = [
    dict(type='PanopticQuality'),
    dict(type='InstanceAP', original_ann_file=data_root + 'annotations/instances_val2017.json'),
    dict(type='MeanIoU'),
]
test_evaluator = val_evaluator

max_iters = 368750
train_cfg = dict(type='ResumableIterLoop', max_iters=max_iters, val_interval=5000)
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=max_iters, by_epoch=False, milestones=[327778, 355092], gamma=0.1)
]
