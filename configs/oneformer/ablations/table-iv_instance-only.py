"""Trained for instance segmentation alone.

Reproduces: paper, Table IV, ADE20K with R50: AP 26.7
            (joint training: 27.3).
Needs:      ADE20K in data/ade (see data/README.md); 8 GPUs of 48 GB, 2 images each.
Command:    bash tools/dist_train.sh table-iv_instance-only 8 --amp
"""

_base_ = '../ade20k/oneformer_r50_8xb2-160k_ade20k-512x512.py'
train_pipeline = [
    dict(step, probs=dict(instance=1.0)) if step.type == 'SampleTask' else step for step in _base_.train_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(test_cfg=dict(tasks=('instance',), token='instance'))
val_evaluator = [metric for metric in _base_.val_evaluator if metric.type == 'InstanceAP']
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='AP'))
