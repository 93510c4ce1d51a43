"""OneFormer with ResNet-50 whose norms are trained, over all GPUs (the reference for Cityscapes and Mapillary)."""

_base_ = './oneformer_r50.py'
model = dict(backbone=dict(norm_cfg=dict(type='SyncBN', requires_grad=True), norm_eval=False))
