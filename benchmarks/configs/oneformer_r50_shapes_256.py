"""OneFormer of full width, ResNet-50 from random weights, on drawn pictures: what gpu_long.sh trains.

Needs:      the pictures of shapes_256.py, or the folder that SHAPES_256 names.
Command:    python tools/train.py benchmarks/configs/oneformer_r50_shapes_256.py
Expect:     not run yet.
"""

_base_ = ['../../configs/_base_/models/oneformer_r50.py', './shapes_256.py']
model = dict(
    thing_ids=_base_.thing_ids,
    # Nothing is pre-trained, so the norms have to learn their statistics.
    backbone=dict(norm_cfg=dict(type='BN', requires_grad=True), norm_eval=False, init_cfg=None),
    head=dict(num_classes=_base_.num_classes, num_queries=50),
    test_cfg=dict(object_mask_thr=0.5),
)
optim_wrapper = dict(optimizer=dict(lr=2e-4), paramwise_cfg=dict(backbone_multiplier=1.0), clip_grad=dict(max_norm=1.0))
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=500))
randomness = dict(seed=0)
