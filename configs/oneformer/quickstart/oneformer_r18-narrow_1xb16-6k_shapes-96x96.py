"""The quick start: a narrow OneFormer, trained from scratch on drawn pictures on a laptop's CPU.

Only widths and depths are small; the code is that of every other config.
Needs:      data/shapes (make_shapes.py; `make quickstart` draws it).
Command:    python tools/train.py configs/oneformer/quickstart/oneformer_r18-narrow_1xb16-6k_shapes-96x96.py
Expect:     see README; the weights of this run are shipped with the package.
"""

_base_ = ['../../_base_/models/oneformer_r50.py', '../../_base_/datasets/shapes_panoptic.py']
channels = 64
num_heads = 4
ffn_channels = 256

model = dict(
    thing_ids=_base_.thing_ids,
    backbone=dict(
        depth=18,
        base_channels=24,
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=False,
        init_cfg=None,
    ),
    head=dict(
        num_classes=_base_.num_classes,
        num_queries=20,
        channels=channels,
        pixel_decoder=dict(
            in_channels=[24, 48, 96, 192], num_layers=2, num_heads=num_heads, ffn_channels=ffn_channels, dropout=0.0
        ),
        query_initializer=dict(num_heads=num_heads, ffn_channels=ffn_channels, dropout=0.0),
        decoder=dict(num_layers=3, num_heads=num_heads, ffn_channels=ffn_channels),
    ),
    text_mapper=dict(num_context=4, width=64, num_layers=2),
    criterion=dict(num_points=256),
    test_cfg=dict(object_mask_thr=0.5, max_per_image=100),
)

optim_wrapper = dict(
    optimizer=dict(lr=6e-4),
    paramwise_cfg=dict(backbone_multiplier=1.0),  # nothing is pre-trained
    clip_grad=dict(max_norm=1.0),
)
default_hooks = dict(checkpoint=dict(interval=1000))
randomness = dict(seed=0)
