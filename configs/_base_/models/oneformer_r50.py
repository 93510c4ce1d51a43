"""OneFormer with ResNet-50 whose norms are frozen (the reference for ADE20K and COCO)."""

_base_ = './oneformer.py'
model = dict(
    backbone=dict(
        type='mmdet.ResNet',
        depth=50,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        frozen_stages=-1,
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True,
        style='pytorch',
        init_cfg=dict(type='BackboneWeights', checkpoint='torchvision://resnet50'),
    ),
    head=dict(pixel_decoder=dict(in_channels=[256, 512, 1024, 2048])),
)
