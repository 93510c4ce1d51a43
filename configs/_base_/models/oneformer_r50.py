"""OneFormer with ResNet-50, full size: 256 channels, 150 queries, 6 pixel decoder and 9 decoder layers.

A config that inherits this states ``num_classes`` and ``thing_ids`` (and ``num_queries`` where it differs).
"""

model = dict(
    type='OneFormer',
    data_preprocessor=dict(
        type='mmdet.DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32,
        non_blocking=True,
    ),
    backbone=dict(
        type='mmdet.ResNet',
        depth=50,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        frozen_stages=-1,
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True,
        style='pytorch',
        init_cfg=dict(type='BackboneWeights', checkpoint='torchvision://resnet50'),
    ),
    head=dict(
        type='OneFormerHead',
        num_queries=150,
        channels=256,
        pixel_decoder=dict(
            type='OneFormerPixelDecoder',
            in_channels=[256, 512, 1024, 2048],
            num_layers=6,
            num_heads=8,
            ffn_channels=1024,
            dropout=0.1,
        ),
        use_task_token=True,
        task_token=dict(type='TaskToken', kind='mlp'),
        query_initializer=dict(
            type='QueryInitializer',
            num_layers=2,
            num_heads=8,
            ffn_channels=2048,
            dropout=0.1,
            values='position',
            start='task',
        ),
        decoder=dict(type='MaskedDecoder', num_layers=9, num_heads=8, ffn_channels=2048),
    ),
    text_mapper=dict(type='TextMapper', num_context=16, width=256, num_layers=6),
    criterion=dict(
        type='OneFormerCriterion',
        class_weight=2.0,
        mask_weight=5.0,
        dice_weight=5.0,
        no_object_weight=0.1,
        num_points=12544,
        oversample=3.0,
        importance=0.75,
        auxiliary=[dict(type='ContrastiveLoss', level='image', weight=0.5)],
    ),
    test_cfg=dict(
        tasks=('semantic', 'instance', 'panoptic'),
        token=None,
        object_mask_thr=0.8,
        overlap_thr=0.8,
        max_per_image=None,
        mask_format='auto',
    ),
)
