"""Weight 1.0 of the contrastive loss instead of 0.5.

Reproduces: paper, Table III, COCO with R50: PQ 50.7, AP 42.0, mIoU 60.5
            (weight 0.5: 51.5, 42.5, 61.2).
Else as:    oneformer_r50_8xb2-50e_coco-1024x1024
Needs:      COCO 2017 in data/coco (see data/README.md); 8 GPUs of 48 GB, 2 images each.
Command:    bash tools/dist_train.sh table-iii_contrastive-weight-1 8 --amp
"""

_base_ = ['../../_base_/models/oneformer_r50.py', '../../_base_/datasets/coco_panoptic_lsj.py']
model = dict(
    thing_ids=_base_.thing_ids,
    head=dict(num_classes=_base_.num_classes, num_queries=150),
    criterion=dict(auxiliary=[dict(type='ContrastiveLoss', level='image', weight=1.0)]),
)
