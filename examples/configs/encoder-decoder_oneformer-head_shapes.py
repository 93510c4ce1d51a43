"""OneFormer's head in a config of mmseg: `EncoderDecoder` with mmseg's data sets, transforms, loop and metric.

Needs:   label maps in data_root, such as examples/head_in_mmseg.py makes from drawn pictures.
Command: python examples/head_in_mmseg.py, or mmseg's own tools/train.py with this file.
Only two settings are specific to OneFormer: `custom_imports` and `decode_head`.
"""

custom_imports = dict(imports=['mmseg_oneformer'], allow_failed_imports=False)
default_scope = 'mmseg'
data_root = 'work_dirs/head_in_mmseg/data/'
classes = ('sky', 'grass', 'water', 'ball', 'box', 'cone', 'star')
palette = [[128, 186, 232], [96, 160, 52], [32, 84, 148], [224, 60, 60], [236, 172, 36], [150, 70, 200], [32, 196, 172]]

model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size_divisor=32,
        test_cfg=dict(size_divisor=32),
    ),
    backbone=dict(
        type='ResNet',
        depth=18,
        base_channels=24,
        stem_channels=24,
        out_indices=(0, 1, 2, 3),
        norm_cfg=dict(type='BN', requires_grad=True),
        style='pytorch',
    ),
    decode_head=dict(
        type='OneFormerDecodeHead',
        num_classes=len(classes),
        head=dict(
            num_queries=20,
            channels=64,
            pixel_decoder=dict(in_channels=[24, 48, 96, 192], num_layers=2, num_heads=4, ffn_channels=256),
            query_initializer=dict(num_heads=4, ffn_channels=256),
            decoder=dict(num_layers=3, num_heads=4, ffn_channels=256),
        ),
        criterion=dict(num_points=256),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),  # 'slide' works too
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
dataset = dict(
    type='BaseSegDataset', data_root=data_root, metainfo=dict(classes=classes, palette=palette), img_suffix='.jpg'
)
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(**dataset, data_prefix=dict(img_path='train', seg_map_path='labels/train'), pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, data_prefix=dict(img_path='val', seg_map_path='labels/val'), pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator

optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=6e-4, weight_decay=0.05), clip_grad=dict(max_norm=1.0)
)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=200, val_interval=200)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=20, log_metric_by_epoch=False),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=200),
    visualization=dict(type='SegVisualizationHook'),
)
log_processor = dict(by_epoch=False)
visualizer = dict(type='SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
