"""OneFormer, ResNet-50, COCO panoptic, 50 epochs.

Reproduces: paper (Tables I and III), COCO: PQ 51.5, AP 42.5, mIoU 61.2.
Weights:    not published.
Needs:      COCO 2017 in data/coco (see data/README.md); 8 GPUs of 48 GB, 2 images each.
Command:    bash tools/dist_train.sh oneformer_r50_8xb2-50e_coco-1024x1024 8 --amp
Override:   --cfg-options train_dataloader.batch_size=1 model.head.num_queries=100
"""

_base_ = ['../../_base_/models/oneformer_r50.py', '../../_base_/datasets/coco_panoptic_lsj.py']
model = dict(thing_ids=_base_.thing_ids, head=dict(num_classes=_base_.num_classes, num_queries=150))
