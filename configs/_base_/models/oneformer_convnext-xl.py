"""OneFormer with ConvNeXt-XL (ImageNet-22k, then 1k, at 384 pixels)."""

_base_ = './oneformer_convnext-l.py'
model = dict(
    backbone=dict(
        channels=[256, 512, 1024, 2048],
        init_cfg=dict(checkpoint='convnext_xlarge_22k_1k_384_ema'),
    ),
    head=dict(pixel_decoder=dict(in_channels=[256, 512, 1024, 2048])),
)
