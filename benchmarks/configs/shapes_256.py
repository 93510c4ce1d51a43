"""Drawn pictures of 256 x 256 and a training of minutes on a GPU: the base of the configs beside it.

Made by: python tools/dataset_converters/make_shapes.py --size 256 --out data/shapes-256
"""

_base_ = '../../configs/_base_/datasets/shapes_panoptic.py'
data_root = '{{$SHAPES_256:data/shapes-256/}}'
max_iters = 3000

test_pipeline = [
    dict(step, size=256, max_size=1024) if step['type'] == 'ShortestEdge' else step for step in _base_.test_pipeline
]
train_dataloader = dict(num_workers=4, dataset=dict(data_root=data_root))
val_dataloader = dict(num_workers=4, dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    dict(type='LinearLR', begin=0, end=100, start_factor=0.01, by_epoch=False),
    dict(type='PolyLR', begin=100, end=max_iters, power=0.9, eta_min=0, by_epoch=False),
]
