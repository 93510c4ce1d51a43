"""Mask2Former, Swin-L, ADE20K, trained jointly: a task is drawn for each image and the model is not told which.

Reproduces: paper, Table 7, "Mask2Former-Joint": PQ 48.7, AP 33.7, mIoU 56.2, 216M parameters. The number of queries is
            not given; with 200 the model has 215.54M parameters (216M), with 100 it would have 215.49M (215M).
            The head is Mask2Former's own (no dropout, gradients clipped at 0.01), all else OneFormer's; Mask2Former's
            published Swin-L models start from weights of ImageNet-22k alone.
Needs:      ADE20K in data/ade (see data/README.md); 8 GPUs of 48 GB, 2 images each.
Command:    bash tools/dist_train.sh mask2former_swin-l_8xb2-160k_ade20k-640x640_joint 8 --amp
"""

_base_ = [
    '../_base_/models/mask2former_swin-l.py',
    '../_base_/datasets/ade20k_panoptic_640x640.py',
    '../_base_/schedules/ade20k_160k.py',
    '../_base_/default_runtime.py',
]
model = dict(num_classes={{_base_.num_classes}}, thing_ids={{_base_.thing_ids}}, test_cfg=dict(object_mask_thr=0.5))
train_pipeline = [
    *[step for step in _base_.train_pipeline if step.type != 'DescribeTargets'],
    dict(type='TargetMasks'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(clip_grad=dict(max_norm=0.01, norm_type=2))
