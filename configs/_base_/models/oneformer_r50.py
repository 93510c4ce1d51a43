"""OneFormer with ResNet-50 whose norms are frozen (the reference for ADE20K and COCO)."""

_base_ = './oneformer.py'
model = dict(
    backbone=dict(
        type='ResNetBackbone',
        depth=50,
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True,
        init_cfg=dict(type='BackboneWeights', checkpoint='torchvision://resnet50'),
    ),
    head=dict(pixel_decoder=dict(in_channels=[256, 512, 1024, 2048])),
)
