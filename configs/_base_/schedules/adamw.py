"""What every published training shares: AdamW, the backbone at a tenth of the rate, evaluation between iterations.

A schedule that inherits this states iterations, learning-rate drops and the evaluation interval.
"""

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='OneFormerOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05, fused=True),
    paramwise_cfg=dict(backbone_multiplier=0.1),
)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=16)
