"""Mask2Former, Swin-L, ADE20K, trained jointly: a task is drawn for each image and the model is not told which.

Reproduces: paper, Table 7, "Mask2Former-Joint": PQ 48.7, AP 33.7, mIoU 56.2, 216M parameters. The number of queries is
            not given; with 200 the model has 215.54M parameters (216M), with 100 it would have 215.49M (215M).
            The head is Mask2Former's own (no dropout, gradients clipped at 0.01), all else OneFormer's; Mask2Former's
            published Swin-L models start from weights of ImageNet-22k alone.
Needs:      ADE20K in data/ade (see data/README.md); 8 GPUs of 48 GB, 2 images each.
Command:    bash tools/dist_train.sh mask2former_swin-l_8xb2-160k_ade20k-640x640_joint 8 --amp
"""

_base_ = ['../_base_/models/mask2former_r50.py', '../_base_/datasets/ade20k_panoptic.py']
size = 640
train_pipeline = [dict(step, size=(size, size)) if 'size' in step else step for step in _base_.train_pipeline]
test_pipeline = [dict(step, size=size, max_size=4 * size) if 'size' in step else step for step in _base_.test_pipeline]
train_pipeline = [*[step for step in train_pipeline if step['type'] != 'DescribeTargets'], dict(type='TargetMasks')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
tta = dict(sides=[size * quarters // 4 for quarters in range(2, 8)], max_size=7 * size)
model = dict(
    num_classes=_base_.num_classes,
    thing_ids=_base_.thing_ids,
    backbone=dict(
        _delete_=True,  # takes the place of ResNet-50
        type='SwinBackbone',
        embed_dims=192,
        depths=[2, 2, 18, 2],
        num_heads=[6, 12, 24, 48],
        window_size=12,
        drop_path_rate=0.3,
        init_cfg=dict(type='BackboneWeights', checkpoint='swin_large_patch4_window12_384_22kto1k'),
    ),
    panoptic_head=dict(in_channels=[192, 384, 768, 1536], num_queries=200),
    test_cfg=dict(object_mask_thr=0.5),
)
