"""300 000 iterations of Mapillary Vistas at batch 16; the rate falls to 0 by a power of 0.9, without warm-up.

mmengine is at the end value one step before `end`; as written here the rate is the reference's at every iteration.
"""

_base_ = './adamw.py'
max_iters = 300000
param_scheduler = [dict(type='PolyLR', begin=0, end=max_iters + 1, by_epoch=False, power=0.9, eta_min=0.0)]
train_cfg = dict(type='ResumableIterLoop', max_iters=max_iters, val_interval=30000)
