"""Without learned text context: all N text queries come from texts.

Reproduces: paper, Table 4, Cityscapes with Swin-L: PQ 62.7, AP 45.0, mIoU 82.8
            (whole model: 67.2, 45.6, 83.0).
Else as:    oneformer_swin-l_8xb2-90k_cityscapes-512x1024
Needs:      Cityscapes in data/cityscapes (see data/README.md); 8 GPUs of 48 GB, 2 images each.
Command:    bash tools/dist_train.sh table4_no-text-context 8 --amp
"""

_base_ = ['../../_base_/models/oneformer_swin-l.py', '../../_base_/datasets/cityscapes_panoptic_512x1024.py']
model = dict(
    thing_ids=_base_.thing_ids,
    head=dict(num_classes=_base_.num_classes, num_queries=250),
    text_mapper=dict(num_context=0),
)
