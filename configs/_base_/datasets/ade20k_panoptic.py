"""ADE20K panoptic, 150 classes, in crops of 512 x 512, tested at 512 / 2048: 160 000 iterations at batch 16.

Things are scattered among the classes, which stand in the order of ADE20K. Experiments with larger crops state another
``size`` and put it in the place of this one.
"""

data_root = 'data/ade/ADEChallengeData2016/'
num_classes = 150
# fmt: off
thing_ids = (
    7, 8, 10, 12, 14, 15, 18, 19, 20, 22, 23, 24, 27, 30, 31, 32, 33, 35, 36, 37, 38, 39, 41, 42, 43, 44, 45, 47,
    49, 50, 53, 55, 56, 57, 58, 62, 64, 65, 66, 67, 69, 70, 71, 72, 73, 74, 75, 76, 78, 80, 81, 82, 83, 85, 86, 87,
    88, 89, 90, 92, 93, 95, 97, 98, 102, 103, 104, 107, 108, 110, 111, 112, 115, 116, 118, 119, 120, 121, 123, 124,
    125, 126, 127, 129, 130, 132, 133, 134, 135, 136, 137, 138, 139, 142, 143, 144, 146, 147, 148, 149,
)
# fmt: on

size = 512
train_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='LoadPanopticIds', allow_absent=True),
    dict(type='RandomShortestEdgeCrop', size=(size, size)),
    dict(type='RandomColorDistortion'),
    dict(type='RandomHorizontalFlip', prob=0.5),
    dict(type='PadTo', size=(size, size)),
    dict(type='SampleTask', probs=dict(semantic=0.33, instance=0.33, panoptic=0.34)),
    dict(type='TaskTargets'),
    dict(type='DescribeTargets', template='photo'),
    dict(type='PackOneFormerInputs'),
]
test_pipeline = [
    dict(type='LoadPhoto'),
    dict(type='ShortestEdge', size=size, max_size=4 * size),
    dict(type='LoadPanopticIds', allow_absent=True),
    dict(type='LoadSemanticMap', reduce_zero_label=True),
    dict(type='PackOneFormerInputs'),
]
tta = dict(sides=[size * quarters // 4 for quarters in range(2, 8)], max_size=7 * size, flip=True)
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='PassSampler', shuffle=True),
    dataset=dict(
        type='Ade20kPanoptic',
        data_root=data_root,
        ann_file='ade20k_panoptic_train.json',
        data_prefix=dict(img='images/training/', seg='ade20k_panoptic_train/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='Ade20kPanoptic',
        data_root=data_root,
        ann_file='ade20k_panoptic_val.json',
        data_prefix=dict(img='images/validation/', seg='ade20k_panoptic_val/', sem='annotations/validation/'),
        listed_areas=True,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = [
    dict(type='PanopticQuality'),
    dict(type='InstanceAP', ann_file=data_root + 'ade20k_instance_val.json'),
    dict(type='MeanIoU'),
]
test_evaluator = val_evaluator

max_iters = 160000
train_cfg = dict(type='ResumableIterLoop', max_iters=max_iters, val_interval=5000)
# mmengine is at the end value one step before `end`; as written here the rate is the reference's at every iteration.
param_scheduler = [dict(type='PolyLR', begin=0, end=max_iters + 1, by_epoch=False, power=0.9, eta_min=0.0)]
