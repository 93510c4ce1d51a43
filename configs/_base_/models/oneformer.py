"""What every OneFormer shares: the network without its backbone, losses, optimiser, logging, checkpoints, environment.

The network is of full size: 256 channels, 150 queries, 6 pixel decoder and 9 decoder layers. oneformer_<backbone>.py
inherits this and adds the backbone; a data set's file has the data and the length of training. An experiment names the
two and states ``num_classes``, ``thing_ids`` and ``num_queries``.
"""

default_scope = 'mmdet'
custom_imports = dict(imports=['mmseg_oneformer'], allow_failed_imports=False)

# The network and its losses.
model = dict(
    type='OneFormer',
    data_preprocessor=dict(
        type='ImgDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32,
        non_blocking=True,
    ),
    head=dict(
        type='OneFormerHead',
        num_queries=150,
        channels=256,
        pixel_decoder=dict(type='OneFormerPixelDecoder', num_layers=6, num_heads=8, ffn_channels=1024, dropout=0.1),
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

# The optimiser and the loops of evaluation.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='OneFormerOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05, fused=True),
    paramwise_cfg=dict(backbone_multiplier=0.1),
)
auto_scale_lr = dict(enable=False, base_batch_size=16)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# Logging, checkpoints, environment.
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),  # else validations are at iteration 0
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='SafeCheckpointHook', by_epoch=False, interval=5000, max_keep_ckpts=3, save_best='PQ', rule='greater'
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='ValidationPictures', num_images=4),
)
custom_hooks = [dict(type='CheckClasses'), dict(type='StopAtInvalidLoss'), dict(type='CurvesPicture')]
env_cfg = dict(
    cudnn_benchmark=False, mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0), dist_cfg=dict(backend='nccl')
)
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=False)
visualizer = dict(type='OneFormerVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer')

log_level = 'INFO'
load_from = None
resume = False
