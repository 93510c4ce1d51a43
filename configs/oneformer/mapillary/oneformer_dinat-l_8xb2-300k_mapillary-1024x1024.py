"""OneFormer, DiNAT-L, Mapillary Vistas panoptic, 300 000 iterations in crops of 1024 x 1024.

Reproduces: model zoo, Mapillary Vistas: PQ 47.8, mIoU 64.0 (64.9 multi-scale).
Weights:    250_16_dinat_l_oneformer_mapillary_300k.pth
Needs:      Mapillary Vistas 1.2 in data/mapillary (see data/README.md); 8 GPUs of 48 GB, 2 images each.
Command:    bash tools/dist_train.sh oneformer_dinat-l_8xb2-300k_mapillary-1024x1024 8
"""

_base_ = ['../../_base_/models/oneformer_dinat-l.py', '../../_base_/datasets/mapillary_panoptic_1024x1024.py']
model = dict(thing_ids=_base_.thing_ids, head=dict(num_classes=_base_.num_classes, num_queries=250))
