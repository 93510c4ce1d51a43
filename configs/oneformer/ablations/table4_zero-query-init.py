"""Object queries begin as zeros instead of copies of the task token, which is still appended.

Reproduces: paper, Table 4, Cityscapes with Swin-L: PQ 65.8, AP 44.5, mIoU 83.1
            (whole model: 67.2, 45.6, 83.0).
Else as:    oneformer_swin-l_8xb2-90k_cityscapes-512x1024
Needs:      Cityscapes in data/cityscapes (see data/README.md); 8 GPUs of 48 GB, 2 images each.
Command:    bash tools/dist_train.sh table4_zero-query-init 8 --amp
"""

_base_ = ['../../_base_/models/oneformer_swin-l.py', '../../_base_/datasets/cityscapes_panoptic_512x1024.py']
model = dict(
    thing_ids=_base_.thing_ids,
    head=dict(num_classes=_base_.num_classes, num_queries=250, query_initializer=dict(start='zeros')),
)
