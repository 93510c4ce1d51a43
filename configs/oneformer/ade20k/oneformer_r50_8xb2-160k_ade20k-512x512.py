"""OneFormer, ResNet-50, ADE20K panoptic, 160 000 iterations in crops of 512 x 512.

Reproduces: paper (Table IV, joint training), ADE20K: PQ 41.9, AP 27.3, mIoU 47.3.
Weights:    not published.
Needs:      ADE20K in data/ade (see data/README.md); 8 GPUs of 48 GB, 2 images each.
Command:    bash tools/dist_train.sh oneformer_r50_8xb2-160k_ade20k-512x512 8 --amp
"""

_base_ = ['../../_base_/models/oneformer_r50.py', '../../_base_/datasets/ade20k_panoptic.py']
model = dict(
    thing_ids=_base_.thing_ids,
    head=dict(num_classes=_base_.num_classes, num_queries=150),
    test_cfg=dict(object_mask_thr=0.5),
)
