"""8 learned text context vectors instead of 16.

Reproduces: paper, Table II, ADE20K with R50: PQ 41.0, AP 27.2, mIoU 46.5
            (16 vectors: 41.9, 27.3, 47.3).
Else as:    oneformer_r50_8xb2-160k_ade20k-512x512
Needs:      ADE20K in data/ade (see data/README.md); 8 GPUs of 48 GB, 2 images each.
Command:    bash tools/dist_train.sh table-ii_8-context 8 --amp
"""

_base_ = ['../../_base_/models/oneformer_r50.py', '../../_base_/datasets/ade20k_panoptic.py']
model = dict(
    thing_ids=_base_.thing_ids,
    head=dict(num_classes=_base_.num_classes, num_queries=150),
    text_mapper=dict(num_context=8),
    test_cfg=dict(object_mask_thr=0.5),
)
