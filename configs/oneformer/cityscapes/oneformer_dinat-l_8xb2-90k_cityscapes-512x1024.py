"""OneFormer, DiNAT-L, Cityscapes panoptic, 90 000 iterations in crops of 512 x 1024.

Reproduces: paper (Table 2) and model zoo, Cityscapes: PQ 67.6, AP 45.6, mIoU 83.1 (84.0 multi-scale).
Weights:    250_16_dinat_l_oneformer_cityscapes_90k.pth
Needs:      Cityscapes in data/cityscapes (see data/README.md); 8 GPUs of 48 GB, 2 images each.
Command:    bash tools/dist_train.sh oneformer_dinat-l_8xb2-90k_cityscapes-512x1024 8
"""

_base_ = ['../../_base_/models/oneformer_dinat-l.py', '../../_base_/datasets/cityscapes_panoptic_512x1024.py']
model = dict(
    thing_ids=_base_.thing_ids,
    backbone=dict(
        kernel_size=7,
        dilations=[
            [1, 18, 1],
            [1, 5, 1, 9],
            [1, 2, 1, 3, 1, 4, 1, 2, 1, 3, 1, 4, 1, 2, 1, 3, 1, 4],
            [1, 2, 1, 2, 1],
        ],
        init_cfg=dict(checkpoint='dinat_large_in22k_224'),
    ),
    head=dict(num_classes=_base_.num_classes, num_queries=250),
)
