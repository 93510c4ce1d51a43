"""OneFormer with DiNAT-L (ImageNet-22k, then 1k, at 384 pixels); dilations for crops of 640 to 1024 pixels."""

_base_ = './oneformer.py'
model = dict(
    backbone=dict(
        type='DiNAT',
        embed_dims=192,
        depths=[3, 4, 18, 5],
        num_heads=[6, 12, 24, 48],
        mlp_ratio=2.0,
        kernel_size=11,
        dilations=[
            [1, 20, 1],
            [1, 5, 1, 10],
            [1, 2, 1, 3, 1, 4, 1, 5, 1, 2, 1, 3, 1, 4, 1, 5, 1, 5],
            [1, 2, 1, 2, 1],
        ],
        drop_path_rate=0.3,
        init_cfg=dict(type='BackboneWeights', checkpoint='dinat_large_in22k_in1k_384_11x11'),
    ),
    head=dict(pixel_decoder=dict(in_channels=[192, 384, 768, 1536])),
)
