"""The baseline through the tools: two iterations on drawn pictures, then all three predictions measured."""

import json

import pytest

from mmseg_oneformer.zoo.configs import config_root

CONFIG = """
_base_ = [
    '{root}/_base_/models/mask2former_r50.py',
    '{root}/_base_/datasets/shapes_panoptic.py',
]
model = dict(
    num_classes=_base_.num_classes,
    thing_ids=_base_.thing_ids,
    backbone=dict(depth=18, base_channels=8, init_cfg=None),
    panoptic_head=dict(
        in_channels=[8, 16, 32, 64],
        num_queries=20,
        pixel_decoder=dict(encoder=dict(num_layers=1)),
        transformer_decoder=dict(num_layers=2),
    ),
    train_cfg=dict(num_points=64),
)
train_pipeline = [*_base_.train_pipeline, dict(type='TargetMasks')]
loader = dict(num_workers=0, persistent_workers=False, batch_size=3)
train_dataloader = dict(**loader, dataset=dict(pipeline=train_pipeline))
test_dataloader = val_dataloader = loader
train_cfg = dict(max_iters=2)
param_scheduler = [dict(type='PolyLR', begin=0, end=2, by_epoch=False, power=0.9)]
default_hooks = dict(logger=dict(interval=1))
"""


@pytest.fixture
def config(call_tool, tmp_path):
    """A short config of a cut baseline, beside six drawn pictures; the widths of its transformers are the real ones."""
    assert call_tool('dataset_converters/make_shapes.py', '--out', 'data/shapes', '--train', 6, '--val', 3) == 0
    path = tmp_path / 'mask2former_shapes.py'
    path.write_text(CONFIG.format(root=config_root()))
    return path


def test_mask2former__trains_and_is_measured(call_tool, config, tmp_path, capsys):
    assert call_tool('train.py', config, '--work-dir', 'run') == 0
    log = next((tmp_path / 'run').glob('*/vis_data/scalars.json')).read_text()
    steps = [step for step in map(json.loads, log.splitlines()) if 'loss' in step]
    assert [step['iter'] for step in steps] == [1, 2]
    assert {'loss_cls', 'loss_mask', 'loss_dice', 'd0.loss_cls', 'd1.loss_dice'} <= steps[0].keys()

    checkpoint = tmp_path / 'run/iter_2.pth'
    assert call_tool('test.py', config, checkpoint, '--work-dir', 'out') == 0
    results = json.loads((tmp_path / 'out/results.json').read_text())
    assert results['metrics']['own'].keys() >= {'PQ', 'PQ_th', 'AP', 'mIoU'}
    assert (results['model'], results['iteration'], results['num_images']) == ('mask2former_shapes', 2, 3)

    for flags, sentence in (
        (('--token-matrix',), 'Mask2FormerBaseline has no task token'),
        (('--token', 'panoptic'), 'Mask2Former has no task token, so "panoptic" cannot be set'),
    ):
        capsys.readouterr()
        assert call_tool('test.py', config, checkpoint, '--work-dir', 'out', *flags) == 2
        assert sentence in capsys.readouterr().err
