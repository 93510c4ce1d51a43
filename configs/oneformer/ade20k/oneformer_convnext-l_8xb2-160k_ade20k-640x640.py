"""OneFormer, ConvNeXt-L, ADE20K panoptic, 160 000 iterations in crops of 640 x 640.

Reproduces: paper (Table 1) and model zoo, ADE20K: PQ 50.0, AP 36.2, mIoU 56.6 (57.4 multi-scale).
Weights:    250_16_convnext_l_oneformer_ade20k_160k.pth
Needs:      ADE20K in data/ade (see data/README.md); 8 GPUs of 48 GB, 2 images each.
Command:    bash tools/dist_train.sh oneformer_convnext-l_8xb2-160k_ade20k-640x640 8 --amp
"""

_base_ = [
    '../../_base_/models/oneformer_convnext-l.py',
    '../../_base_/datasets/ade20k_panoptic_640x640.py',
    '../../_base_/schedules/ade20k_160k.py',
    '../../_base_/default_runtime.py',
]
model = dict(
    thing_ids={{_base_.thing_ids}},
    head=dict(num_classes={{_base_.num_classes}}, num_queries=250),
    test_cfg=dict(object_mask_thr=0.5),
)
optim_wrapper = dict(paramwise_cfg=dict(backbone_norm_decay=True))  # the reference decays its own norm class
