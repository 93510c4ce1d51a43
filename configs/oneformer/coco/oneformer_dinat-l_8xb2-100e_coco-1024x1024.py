"""OneFormer, DiNAT-L, COCO panoptic, 100 epochs.

Reproduces: paper (Table 3) and model zoo, COCO: PQ 58.0 (things 64.3, stuff 48.4), AP 49.2, mIoU 68.1.
Weights:    150_16_dinat_l_oneformer_coco_100ep.pth
Needs:      COCO 2017 in data/coco (see data/README.md); 8 GPUs of 80 GB, 2 images each.
Command:    bash tools/dist_train.sh oneformer_dinat-l_8xb2-100e_coco-1024x1024 8
"""

_base_ = ['../../_base_/models/oneformer_dinat-l.py', '../../_base_/datasets/coco_panoptic_lsj.py']
model = dict(thing_ids=_base_.thing_ids, head=dict(num_classes=_base_.num_classes, num_queries=150))
max_iters = 737500
train_cfg = dict(max_iters=max_iters)
param_scheduler = [  # the second drop is at .963 of them; for Swin-L the reference has 735 184
    dict(type='MultiStepLR', begin=0, end=max_iters, by_epoch=False, milestones=[655556, 710184], gamma=0.1)
]
