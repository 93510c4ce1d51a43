"""What every experiment shares: logging, checkpoints, environment."""

default_scope = 'mmdet'
custom_imports = dict(imports=['mmseg_oneformer'], allow_failed_imports=False)

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
