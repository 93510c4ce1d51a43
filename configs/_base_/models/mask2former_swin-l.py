"""mmdet's Mask2Former with Swin-L (ImageNet-22k, then 1k, at 384 pixels) and 200 queries.

Backbone and preprocessing are OneFormer's. A config that inherits this states ``num_classes`` and ``thing_ids``.
"""

_base_ = ['./oneformer_swin-l.py', './mask2former.py']
model = dict(
    _base_.mask2former,
    _delete_=True,
    data_preprocessor=dict(_base_.model.data_preprocessor, pad_mask=True),
    backbone=_base_.model.backbone,
    panoptic_head=dict(
        _base_.mask2former.panoptic_head,
        in_channels=_base_.model.head.pixel_decoder.in_channels,
        num_queries=200,
    ),
)
