"""OneFormer, Swin-T, ADE20K panoptic, 160 000 iterations in crops of 512 x 512.

Reproduces: the reference code's configuration; no result was published.
Weights:    in transformers' form only: shi-labs/oneformer_ade20k_swin_tiny.
Needs:      ADE20K in data/ade (see data/README.md); 8 GPUs of 48 GB, 2 images each.
Command:    bash tools/dist_train.sh oneformer_swin-t_8xb2-160k_ade20k-512x512 8 --amp
"""

_base_ = ['../../_base_/models/oneformer_swin-t.py', '../../_base_/datasets/ade20k_panoptic.py']
model = dict(
    thing_ids=_base_.thing_ids,
    head=dict(num_classes=_base_.num_classes, num_queries=150),
    test_cfg=dict(object_mask_thr=0.5),
)
