"""Mapillary Vistas with all three tasks drawn, as for the weights that Cityscapes models start from."""

_base_ = './mapillary_panoptic_1024x1024.py'

train_pipeline = [
    dict(step, probs=dict(semantic=0.33, instance=0.33, panoptic=0.34)) if step.type == 'SampleTask' else step
    for step in _base_.train_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
