"""Trained for semantic segmentation alone.

Reproduces: paper, Table IV, ADE20K with R50: mIoU 47.3
            (joint training: 47.3).
Else as:    oneformer_r50_8xb2-160k_ade20k-512x512
Needs:      ADE20K in data/ade (see data/README.md); 8 GPUs of 48 GB, 2 images each.
Command:    bash tools/dist_train.sh table-iv_semantic-only 8 --amp
"""

_base_ = ['../../_base_/models/oneformer_r50.py', '../../_base_/datasets/ade20k_panoptic.py']
model = dict(
    thing_ids=_base_.thing_ids,
    head=dict(num_classes=_base_.num_classes, num_queries=150),
    test_cfg=dict(object_mask_thr=0.5, tasks=('semantic',), token='semantic'),
)
train_pipeline = [
    dict(step, probs=dict(semantic=1.0)) if step.type == 'SampleTask' else step for step in _base_.train_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_evaluator = [dict(type='MeanIoU')]
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='mIoU'))
