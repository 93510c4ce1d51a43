"""Trained for panoptic segmentation alone.

Reproduces: paper, Table IV, ADE20K with R50: PQ 41.4, AP 27.0, mIoU 46.1
            (joint training: 41.9, 27.3, 47.3);
            all three from the panoptic token, the only one that was trained.
Needs:      ADE20K in data/ade (see data/README.md); 8 GPUs of 48 GB, 2 images each.
Command:    bash tools/dist_train.sh table-iv_panoptic-only 8 --amp
"""

_base_ = '../ade20k/oneformer_r50_8xb2-160k_ade20k-512x512.py'
train_pipeline = [
    dict(step, probs=dict(panoptic=1.0)) if step.type == 'SampleTask' else step for step in _base_.train_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(test_cfg=dict(token='panoptic'))
