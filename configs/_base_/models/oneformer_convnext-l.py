"""OneFormer with ConvNeXt-L (ImageNet-22k, then 1k, at 384 pixels)."""

_base_ = './oneformer.py'
model = dict(
    backbone=dict(
        type='ConvNeXt',
        depths=[3, 3, 27, 3],
        channels=[192, 384, 768, 1536],
        drop_path_rate=0.4,
        layer_scale=1.0,
        init_cfg=dict(type='BackboneWeights', checkpoint='convnext_large_22k_1k_384'),
    ),
    head=dict(pixel_decoder=dict(in_channels=[192, 384, 768, 1536])),
)
optim_wrapper = dict(paramwise_cfg=dict(backbone_norm_decay=True))  # the reference decays its own norm class
