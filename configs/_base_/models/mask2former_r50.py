"""mmdet's Mask2Former with ResNet-50 and 100 queries: 256 channels, 6 pixel decoder and 9 decoder layers.

The head is Mask2Former's own, with the settings of its own configs: no dropout, gradients clipped at 0.01. All else is
OneFormer's. A config that inherits this states ``num_classes`` and ``thing_ids``.
"""

_base_ = './oneformer.py'

channels = 256
num_heads = 8
positions = dict(num_feats=channels // 2, normalize=True)
attention = dict(embed_dims=channels, num_heads=num_heads, dropout=0.0, batch_first=True)

model = dict(
    _delete_=True,  # takes the place of OneFormer's network
    type='Mask2FormerBaseline',
    data_preprocessor=dict(_base_.model.data_preprocessor, type='mmdet.DetDataPreprocessor', pad_mask=True),
    backbone=dict(
        type='ResNetBackbone',
        depth=50,
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True,
        init_cfg=dict(type='BackboneWeights', checkpoint='torchvision://resnet50'),
    ),
    panoptic_head=dict(
        type='mmdet.Mask2FormerHead',
        in_channels=[256, 512, 1024, 2048],
        num_queries=100,
        feat_channels=channels,
        out_channels=channels,
        num_transformer_feat_level=3,
        pixel_decoder=dict(
            type='mmdet.MSDeformAttnPixelDecoder',
            num_outs=3,
            norm_cfg=dict(type='GN', num_groups=32),
            act_cfg=dict(type='ReLU'),
            encoder=dict(
                num_layers=6,
                layer_cfg=dict(
                    self_attn_cfg=dict(**attention, num_levels=3, num_points=4),
                    ffn_cfg=dict(embed_dims=channels, feedforward_channels=1024, ffn_drop=0.0),
                ),
            ),
            positional_encoding=positions,
        ),
        transformer_decoder=dict(
            num_layers=9,
            layer_cfg=dict(
                self_attn_cfg=attention,
                cross_attn_cfg=attention,
                ffn_cfg=dict(embed_dims=channels, feedforward_channels=2048, ffn_drop=0.0),
            ),
        ),
        positional_encoding=positions,
        loss_cls=dict(type='mmdet.CrossEntropyLoss', use_sigmoid=False, loss_weight=2.0),
        loss_mask=dict(type='mmdet.CrossEntropyLoss', use_sigmoid=True, loss_weight=5.0),
        loss_dice=dict(type='mmdet.DiceLoss', naive_dice=True, eps=1.0, loss_weight=5.0),
    ),
    no_object_weight=0.1,
    train_cfg=dict(
        num_points=12544,
        oversample_ratio=3.0,
        importance_sample_ratio=0.75,
        assigner=dict(
            type='mmdet.HungarianAssigner',
            match_costs=[
                dict(type='mmdet.ClassificationCost', weight=2.0),
                dict(type='mmdet.CrossEntropyLossCost', weight=5.0, use_sigmoid=True),
                dict(type='mmdet.DiceCost', weight=5.0, pred_act=True, eps=1.0),
            ],
        ),
        sampler=dict(type='mmdet.MaskPseudoSampler'),
    ),
    test_cfg=dict(
        tasks=('semantic', 'instance', 'panoptic'),
        object_mask_thr=0.8,
        overlap_thr=0.8,
        max_per_image=None,
        mask_format='auto',
    ),
)
optim_wrapper = dict(clip_grad=dict(max_norm=0.01, norm_type=2))
