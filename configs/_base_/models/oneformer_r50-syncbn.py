"""OneFormer with ResNet-50 whose norms are trained, over all GPUs (the reference for Cityscapes and Mapillary)."""

_base_ = './oneformer.py'
model = dict(
    backbone=dict(
        type='ResNetBackbone',
        depth=50,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        norm_eval=False,
        init_cfg=dict(type='BackboneWeights', checkpoint='torchvision://resnet50'),
    ),
    head=dict(pixel_decoder=dict(in_channels=[256, 512, 1024, 2048])),
)
