"""OneFormer, Swin-T, COCO panoptic, 50 epochs.

Reproduces: the reference code's configuration; no result was published.
Weights:    not published.
Needs:      COCO 2017 in data/coco (see data/README.md); 8 GPUs of 48 GB, 2 images each.
Command:    bash tools/dist_train.sh oneformer_swin-t_8xb2-50e_coco-1024x1024 8 --amp
"""

_base_ = ['../../_base_/models/oneformer_swin-t.py', '../../_base_/datasets/coco_panoptic_lsj.py']
model = dict(thing_ids=_base_.thing_ids, head=dict(num_classes=_base_.num_classes, num_queries=150))
