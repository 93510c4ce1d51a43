"""Mask2Former, ResNet-50, ADE20K, trained for semantic segmentation alone.

Reproduces: paper, Table IV, "semantic": mIoU 47.2, 44M parameters, 100 queries, all else as the joint config.
Needs:      ADE20K in data/ade (see data/README.md); 8 GPUs of 48 GB, 2 images each.
Command:    bash tools/dist_train.sh mask2former_r50_8xb2-160k_ade20k-512x512_semantic 8 --amp
"""

_base_ = ['../_base_/models/mask2former_r50.py', '../_base_/datasets/ade20k_panoptic.py']
model = dict(
    num_classes=_base_.num_classes,
    thing_ids=_base_.thing_ids,
    test_cfg=dict(object_mask_thr=0.5, tasks=('semantic',)),
)
train_pipeline = [
    dict(step, probs=dict(semantic=1.0)) if step.type == 'SampleTask' else step
    for step in _base_.train_pipeline
    if step.type != 'DescribeTargets'
]
train_pipeline.append(dict(type='TargetMasks'))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_evaluator = [dict(type='MeanIoU')]
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='mIoU'))
