"""OneFormer, ConvNeXt-XL, Mapillary Vistas with all three tasks drawn: what the Cityscapes model starts from.

Reproduces: the reference code's configuration; no result was published.
Weights:    mapillary_pretrain_250_16_convnext_xl_oneformer_mapillary_300k.pth
Needs:      Mapillary Vistas 1.2 in data/mapillary (see data/README.md); 8 GPUs of 80 GB, 2 images each.
Command:    bash tools/dist_train.sh oneformer_convnext-xl-all-tasks_8xb2-300k_mapillary-1024x1024 8 --amp
"""

_base_ = ['../../_base_/models/oneformer_convnext-xl.py', '../../_base_/datasets/mapillary_panoptic_1024x1024.py']
model = dict(thing_ids=_base_.thing_ids, head=dict(num_classes=_base_.num_classes, num_queries=250))
train_pipeline = [
    dict(step, probs=dict(semantic=0.33, instance=0.33, panoptic=0.34)) if step.type == 'SampleTask' else step
    for step in _base_.train_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
