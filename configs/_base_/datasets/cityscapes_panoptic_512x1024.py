"""Cityscapes panoptic in crops of 512 x 1024; tests at the photos' own 1024 x 2048.

The shortest photo is resized to 512 pixels, so no crop needs padding.
"""

data_root = 'data/cityscapes/'
num_classes = 19
thing_ids = (11, 12, 13, 14, 15, 16, 17, 18)

train_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='LoadPanopticIds'),
    dict(type='RandomShortestEdgeCrop', size=(512, 1024), edge=1024),
    dict(type='RandomColorDistortion'),
    dict(type='RandomHorizontalFlip', prob=0.5),
    dict(type='SampleTask', probs=dict(semantic=0.33, instance=0.33, panoptic=0.34)),
    dict(type='TaskTargets'),
    dict(type='DescribeTargets', template='photo'),
    dict(type='PackOneFormerInputs'),
]
test_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='ShortestEdge', size=1024, max_size=2048),
    dict(type='LoadPanopticIds'),
    dict(type='LoadSemanticMap'),
    dict(type='PackOneFormerInputs'),
]
tta = dict(sides=(512, 768, 1024, 1280, 1536, 1792), max_size=4096, flip=True)
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='PassSampler', shuffle=True),
    dataset=dict(
        type='CityscapesPanoptic',
        data_root=data_root,
        ann_file='gtFine/cityscapes_panoptic_train.json',
        data_prefix=dict(img='leftImg8bit/train/', seg='gtFine/cityscapes_panoptic_train/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CityscapesPanoptic',
        data_root=data_root,
        ann_file='gtFine/cityscapes_panoptic_val.json',
        data_prefix=dict(
            img='leftImg8bit/val/', seg='gtFine/cityscapes_panoptic_val/', sem='gtFine/val/', instance='gtFine/val/'
        ),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = [
    dict(type='PanopticQuality'),
    dict(type='CityscapesAP'),
    dict(type='MeanIoU', average='all'),  # as Cityscapes' own script counts
]
test_evaluator = val_evaluator

max_iters = 90000
train_cfg = dict(type='ResumableIterLoop', max_iters=max_iters, val_interval=5000)
# mmengine is at the end value one step before `end`; as written here the rate is the reference's at every iteration.
param_scheduler = [dict(type='PolyLR', begin=0, end=max_iters + 1, by_epoch=False, power=0.9, eta_min=0.0)]
