_base_ = './toy_config.py'
train_cfg = dict(val_interval=2)
val_dataloader = dict(
    batch_size=2, num_workers=0, dataset=dict(type='ToyData'), sampler=dict(type='DefaultSampler', shuffle=False)
)
val_cfg = dict(type='ValLoop')
val_evaluator = dict(type='ToyMetric')
default_hooks = dict(checkpoint=dict(save_best='score', rule='greater'))
