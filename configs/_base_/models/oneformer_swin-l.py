"""OneFormer with Swin-L (ImageNet-22k, then 1k, at 384 pixels)."""

_base_ = './oneformer.py'
model = dict(
    backbone=dict(
        type='SwinBackbone',
        embed_dims=192,
        depths=[2, 2, 18, 2],
        num_heads=[6, 12, 24, 48],
        window_size=12,
        drop_path_rate=0.3,
        init_cfg=dict(type='BackboneWeights', checkpoint='swin_large_patch4_window12_384_22kto1k'),
    ),
    head=dict(pixel_decoder=dict(in_channels=[192, 384, 768, 1536])),
)
