"""OneFormer, ConvNeXt-XL, ADE20K panoptic, 160 000 iterations in crops of 640 x 640.

Reproduces: paper (Table 1) and model zoo, ADE20K: PQ 50.1, AP 36.3, mIoU 57.4 (58.8 multi-scale).
Weights:    250_16_convnext_xl_oneformer_ade20k_160k.pth
Needs:      ADE20K in data/ade (see data/README.md); 8 GPUs of 80 GB, 2 images each.
Command:    bash tools/dist_train.sh oneformer_convnext-xl_8xb2-160k_ade20k-640x640 8 --amp
"""

_base_ = ['../../_base_/models/oneformer_convnext-xl.py', '../../_base_/datasets/ade20k_panoptic.py']
size = 640
train_pipeline = [dict(step, size=(size, size)) if 'size' in step else step for step in _base_.train_pipeline]
test_pipeline = [dict(step, size=size, max_size=4 * size) if 'size' in step else step for step in _base_.test_pipeline]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
tta = dict(sides=[size * quarters // 4 for quarters in range(2, 8)], max_size=7 * size)
model = dict(
    thing_ids=_base_.thing_ids,
    head=dict(num_classes=_base_.num_classes, num_queries=250),
    test_cfg=dict(object_mask_thr=0.5),
)
