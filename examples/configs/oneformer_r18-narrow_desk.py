"""Fine-tuning on five classes of one's own: the quick start's model, trained weights, other classes.

Needs:   the files that examples/fine_tune.py makes in data_root.
Command: python examples/fine_tune.py, or python tools/train.py examples/configs/oneformer_r18-narrow_desk.py
"""

_base_ = '../../configs/oneformer/quickstart/oneformer_r18-narrow_1xb16-6k_shapes-96x96.py'

data_root = 'work_dirs/fine_tune/data/'
classes, thing_ids = ('coin', 'pencil', 'leaf', 'wood', 'cloth'), (0, 1, 2)
max_iters = 300

model = dict(
    thing_ids=thing_ids,
    head=dict(num_classes=len(classes)),
    # All weights but the class head's, which has other rows here.
    init_cfg=dict(type='FineTuneFrom', checkpoint='oneformer_r18-narrow_1xb16-6k_shapes-96x96', classes=classes),
)
metainfo = dict(
    classes=classes,
    thing_ids=thing_ids,
    palette=[(236, 172, 36), (224, 60, 60), (96, 160, 52), (170, 120, 80), (70, 90, 170)],
)
own = dict(type='PanopticDataset', data_root=data_root, metainfo=metainfo)
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        **own,
        ann_file='annotations/panoptic_train.json',
        data_prefix=dict(img='photos/train/', seg='annotations/panoptic_train/'),
    ),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        **own,
        ann_file='annotations/panoptic_val.json',
        data_prefix=dict(img='photos/val/', seg='annotations/panoptic_val/'),
    ),
)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [dict(type='PolyLR', power=0.9, begin=0, end=max_iters, by_epoch=False)]
optim_wrapper = dict(optimizer=dict(lr=5e-4))
default_hooks = dict(checkpoint=dict(interval=max_iters), logger=dict(interval=25))
