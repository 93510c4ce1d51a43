"""100 epochs of COCO at batch 16. The reference drops the rate a second time at 735 184, probably 710 184 mistyped."""

_base_ = './coco_50e.py'
max_iters = 737500
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=max_iters, by_epoch=False, milestones=[655556, 735184], gamma=0.1)
]
train_cfg = dict(max_iters=max_iters)
