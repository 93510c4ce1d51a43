"""Mask2Former, ResNet-50, ADE20K, trained jointly: a task is drawn for each image and the model is not told which.

Reproduces: paper, Table IV, "joint" (Mask2Former retrained by the paper's authors): PQ 40.8, AP 25.7, mIoU 46.6, 44M
            parameters. The number of queries is not given; here 100, as in Mask2Former's own config.
            The head is Mask2Former's own (no dropout, gradients clipped at 0.01), all else OneFormer's.
Needs:      ADE20K in data/ade (see data/README.md); 8 GPUs of 48 GB, 2 images each.
Command:    bash tools/dist_train.sh mask2former_r50_8xb2-160k_ade20k-512x512_joint 8 --amp
"""

_base_ = ['../_base_/models/mask2former_r50.py', '../_base_/datasets/ade20k_panoptic.py']
model = dict(num_classes=_base_.num_classes, thing_ids=_base_.thing_ids, test_cfg=dict(object_mask_thr=0.5))
train_pipeline = [
    *[step for step in _base_.train_pipeline if step.type != 'DescribeTargets'],
    dict(type='TargetMasks'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
