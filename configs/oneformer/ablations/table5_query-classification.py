"""A classification loss on the queries before the decoder instead of the contrastive one.

Reproduces: paper, Table 5, Cityscapes with Swin-L: PQ 66.4, AP 44.7, mIoU 82.6
            (whole model: 67.2, 45.6, 83.0). Its details are not given; ours: docs/configs.md.
Else as:    oneformer_swin-l_8xb2-90k_cityscapes-512x1024
Needs:      Cityscapes in data/cityscapes (see data/README.md); 8 GPUs of 48 GB, 2 images each.
Command:    bash tools/dist_train.sh table5_query-classification 8 --amp
"""

_base_ = ['../../_base_/models/oneformer_swin-l.py', '../../_base_/datasets/cityscapes_panoptic_512x1024.py']
model = dict(
    thing_ids=_base_.thing_ids,
    head=dict(num_classes=_base_.num_classes, num_queries=250),
    criterion=dict(auxiliary=[dict(type='QueryClassification', weight=1.0)]),
)
