"""mmdet's Mask2Former with Swin-L (ImageNet-22k, then 1k, at 384 pixels) and 200 queries."""

_base_ = './mask2former_r50.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmdet.SwinTransformer',
        embed_dims=192,
        depths=[2, 2, 18, 2],
        num_heads=[6, 12, 24, 48],
        window_size=12,
        pretrain_img_size=384,
        drop_path_rate=0.3,
        patch_norm=True,
        out_indices=(0, 1, 2, 3),
        convert_weights=True,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_large_patch4_window12_384_22kto1k.pth',
        ),
    ),
    panoptic_head=dict(in_channels=[192, 384, 768, 1536], num_queries=200),
)
