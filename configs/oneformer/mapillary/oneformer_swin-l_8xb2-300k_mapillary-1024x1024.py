"""OneFormer, Swin-L, Mapillary Vistas panoptic, 300 000 iterations in crops of 1024 x 1024.

Reproduces: model zoo, Mapillary Vistas: PQ 46.7, mIoU 62.9 (64.1 multi-scale).
Weights:    250_16_swin_l_oneformer_mapillary_300k.pth
Needs:      Mapillary Vistas 1.2 in data/mapillary (see data/README.md); 8 GPUs of 48 GB, 2 images each.
Command:    bash tools/dist_train.sh oneformer_swin-l_8xb2-300k_mapillary-1024x1024 8 --amp
"""

_base_ = ['../../_base_/models/oneformer_swin-l.py', '../../_base_/datasets/mapillary_panoptic_1024x1024.py']
model = dict(thing_ids=_base_.thing_ids, head=dict(num_classes=_base_.num_classes, num_queries=250))
