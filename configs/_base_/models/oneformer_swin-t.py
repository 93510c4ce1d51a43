"""OneFormer with Swin-T (ImageNet-1k)."""

_base_ = './oneformer.py'
model = dict(
    backbone=dict(
        type='SwinBackbone',
        embed_dims=96,
        depths=[2, 2, 6, 2],
        num_heads=[3, 6, 12, 24],
        window_size=7,
        drop_path_rate=0.3,
        init_cfg=dict(type='BackboneWeights', checkpoint='swin_tiny_patch4_window7_224'),
    ),
    head=dict(pixel_decoder=dict(in_channels=[96, 192, 384, 768])),
)
