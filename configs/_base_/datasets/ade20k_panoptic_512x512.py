"""ADE20K panoptic in crops of 512 x 512; tests at 512 / 2048."""

_base_ = './ade20k_panoptic.py'
size = 512

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadPanopticIds', allow_absent=True),
    dict(
        type='ResizeAndCrop',
        resize=dict(
            type='RandomShortestEdge', sizes=[size * tenths // 10 for tenths in range(5, 21)], max_size=4 * size
        ),
        crop=dict(type='RandomPanopticCrop', size=(size, size)),
    ),
    dict(type='RandomColorDistortion'),
    dict(type='RandomHorizontalFlip', prob=0.5),
    dict(type='PadTo', size=(size, size)),
    dict(type='SampleTask', probs=dict(semantic=0.33, instance=0.33, panoptic=0.34)),
    dict(type='TaskTargets'),
    dict(type='DescribeTargets', template='photo'),
    dict(type='PackOneFormerInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ShortestEdge', size=size, max_size=4 * size),
    dict(type='LoadPanopticIds', allow_absent=True),
    dict(type='LoadSemanticMap', reduce_zero_label=True),
    dict(type='PackOneFormerInputs'),
]
tta = dict(sides=[size * quarters // 4 for quarters in range(2, 8)], max_size=7 * size, flip=True)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
