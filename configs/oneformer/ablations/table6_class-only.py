"""Texts are the names of classes alone.

Reproduces: paper, Table 6, Cityscapes with Swin-L: PQ 66.6, AP 44.7, mIoU 82.5
            (whole model: 67.2, 45.6, 83.0).
Else as:    oneformer_swin-l_8xb2-90k_cityscapes-512x1024
Needs:      Cityscapes in data/cityscapes (see data/README.md); 8 GPUs of 48 GB, 2 images each.
Command:    bash tools/dist_train.sh table6_class-only 8 --amp
"""

_base_ = ['../../_base_/models/oneformer_swin-l.py', '../../_base_/datasets/cityscapes_panoptic_512x1024.py']
model = dict(thing_ids=_base_.thing_ids, head=dict(num_classes=_base_.num_classes, num_queries=250))
train_pipeline = [
    dict(step, template='name') if step.type == 'DescribeTargets' else step for step in _base_.train_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
