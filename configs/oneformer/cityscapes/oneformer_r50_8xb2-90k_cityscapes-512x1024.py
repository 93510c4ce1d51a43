"""OneFormer, ResNet-50 (SyncBN), Cityscapes panoptic, 90 000 iterations in crops of 512 x 1024.

Reproduces: the reference code's configuration; no result was published.
Weights:    not published.
Needs:      Cityscapes in data/cityscapes (see data/README.md); 8 GPUs of 48 GB, 2 images each.
Command:    bash tools/dist_train.sh oneformer_r50_8xb2-90k_cityscapes-512x1024 8 --amp
"""

_base_ = ['../../_base_/models/oneformer_r50-syncbn.py', '../../_base_/datasets/cityscapes_panoptic_512x1024.py']
model = dict(thing_ids=_base_.thing_ids, head=dict(num_classes=_base_.num_classes, num_queries=150))
