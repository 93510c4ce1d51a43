"""Mask2Former trained jointly, else as oneformer_r50_shapes_256 (paper, Table 7): a task is drawn, and not told.

Needs:      the pictures of shapes_256.py, or the folder that SHAPES_256 names; on a GPU compiled operators of mmcv.
Command:    python tools/train.py benchmarks/configs/mask2former_r50_shapes_256_joint.py
Expect:     not run yet.
"""

_base_ = ['../../configs/_base_/models/mask2former_r50.py', './shapes_256.py']
model = dict(
    num_classes=_base_.num_classes,
    thing_ids=_base_.thing_ids,
    backbone=dict(norm_cfg=dict(type='BN', requires_grad=True), norm_eval=False, init_cfg=None),
    panoptic_head=dict(num_queries=50),
    test_cfg=dict(object_mask_thr=0.5),
)
train_pipeline = [
    *[step for step in _base_.train_pipeline if step.type != 'DescribeTargets'],
    dict(type='TargetMasks'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(optimizer=dict(lr=2e-4), paramwise_cfg=dict(backbone_multiplier=1.0), clip_grad=dict(max_norm=1.0))
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=500))
randomness = dict(seed=0)
