"""Trained for panoptic segmentation alone.

Reproduces: paper, Table IV, ADE20K with R50: PQ 41.4, AP 27.0, mIoU 46.1
            (joint training: 41.9, 27.3, 47.3);
            all three from the panoptic token, the only one that was trained.
Else as:    oneformer_r50_8xb2-160k_ade20k-512x512
Needs:      ADE20K in data/ade (see data/README.md); 8 GPUs of 48 GB, 2 images each.
Command:    bash tools/dist_train.sh table-iv_panoptic-only 8 --amp
"""

_base_ = ['../../_base_/models/oneformer_r50.py', '../../_base_/datasets/ade20k_panoptic.py']
model = dict(
    thing_ids=_base_.thing_ids,
    head=dict(num_classes=_base_.num_classes, num_queries=150),
    test_cfg=dict(object_mask_thr=0.5, token='panoptic'),
)
train_pipeline = [
    dict(step, probs=dict(panoptic=1.0)) if step.type == 'SampleTask' else step for step in _base_.train_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
