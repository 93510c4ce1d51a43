"""OneFormer, ConvNeXt-XL, Cityscapes panoptic, 90 000 iterations, starting from the Mapillary Vistas model.

Reproduces: model zoo, Cityscapes: PQ 69.7, AP 48.9, mIoU 84.5 (85.8 multi-scale).
Weights:    mapillary_pretrain_250_16_convnext_xl_oneformer_cityscapes_90k.pth
Needs:      Cityscapes in data/cityscapes (see data/README.md); 8 GPUs of 80 GB, 2 images each.
Command:    bash tools/dist_train.sh oneformer_convnext-xl-mapillary-pre_8xb2-90k_cityscapes-512x1024 8 --amp
"""

_base_ = ['../../_base_/models/oneformer_convnext-xl.py', '../../_base_/datasets/cityscapes_panoptic_512x1024.py']
model = dict(
    init_cfg=dict(type='FineTuneFrom', checkpoint='oneformer_convnext-xl-all-tasks_8xb2-300k_mapillary-1024x1024'),
    thing_ids=_base_.thing_ids,
    head=dict(num_classes=_base_.num_classes, num_queries=250),
)
