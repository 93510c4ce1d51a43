"""OneFormer, ConvNeXt-L, Cityscapes panoptic, 90 000 iterations in crops of 512 x 1024.

Reproduces: paper (Table 2) and model zoo, Cityscapes: PQ 68.5, AP 46.5, mIoU 83.0 (84.0 multi-scale).
Weights:    250_16_convnext_l_oneformer_cityscapes_90k.pth
Needs:      Cityscapes in data/cityscapes (see data/README.md); 8 GPUs of 48 GB, 2 images each.
Command:    bash tools/dist_train.sh oneformer_convnext-l_8xb2-90k_cityscapes-512x1024 8 --amp
"""

_base_ = ['../../_base_/models/oneformer_convnext-l.py', '../../_base_/datasets/cityscapes_panoptic_512x1024.py']
model = dict(thing_ids=_base_.thing_ids, head=dict(num_classes=_base_.num_classes, num_queries=250))
