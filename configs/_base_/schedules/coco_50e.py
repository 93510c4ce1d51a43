"""50 epochs of COCO at batch 16; the rate drops at .889 and .963 of them, as in the reference code."""

_base_ = './adamw.py'
max_iters = 368750
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=max_iters, by_epoch=False, milestones=[327778, 355092], gamma=0.1)
]
train_cfg = dict(type='ResumableIterLoop', max_iters=max_iters, val_interval=5000)
