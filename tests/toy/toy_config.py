custom_imports = dict(imports=['toy_parts'])
default_scope = 'mmdet'
model = dict(type='ToyModel')
train_dataloader = dict(
    batch_size=3,
    num_workers=0,
    dataset=dict(type='ToyData'),
    sampler=dict(type='PassSampler', shuffle=True),
)
train_cfg = dict(type='ResumableIterLoop', max_iters=7)
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='OneFormerOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=0.01, weight_decay=0.05, fused=True),
)
param_scheduler = dict(type='PolyLR', power=0.9, eta_min=0, begin=0, end=7, by_epoch=False)
default_hooks = dict(
    checkpoint=dict(type='SafeCheckpointHook', by_epoch=False, interval=2, max_keep_ckpts=1),
    logger=dict(type='LoggerHook', interval=1),
)
custom_hooks = [dict(type='Record', die_after=None)]
randomness = dict(seed=3)
