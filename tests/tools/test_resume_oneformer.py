import pytest
import torch

from mmseg_oneformer.zoo.configs import find_config

QUICKSTART = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
STOP = """
custom_imports = dict(imports=['mmseg_oneformer', 'toy_parts'])
custom_hooks = [dict(type='Record', raise_after=3)]
"""


@pytest.fixture
def shapes(call_tool, tmp_path):
    """A dozen drawn pictures, and the options that make the quick start's config short, small and random."""
    drawn = call_tool('dataset_converters/make_shapes.py', '--out', 'data/shapes', '--train', 12, '--val', 2)
    assert drawn == 0
    return (
        'train_cfg.max_iters=5',
        'train_cfg.val_interval=3',
        'train_dataloader.batch_size=2',
        'default_hooks.checkpoint.interval=2',
        'default_hooks.logger.interval=1',
        'model.head.pixel_decoder.dropout=0.1',
        'model.head.query_initializer.dropout=0.1',
    )


def weights(work_dir):
    return torch.load(work_dir / 'iter_5.pth', weights_only=False)['state_dict']


@pytest.mark.slow
@pytest.mark.parametrize('workers', [0, 2])
def test_train__oneformer_stopped_and_resumed_is_equal(call_tool, shapes, tmp_path, monkeypatch, workers):
    config = find_config(QUICKSTART)
    options = ('--cfg-options', *shapes, f'train_dataloader.num_workers={workers}')
    if not workers:
        options += ('train_dataloader.persistent_workers=False',)
    assert call_tool('train.py', config, '--work-dir', 'whole', *options) == 0
    stopping = tmp_path / 'stopping.py'
    stopping.write_text(f"_base_ = '{config}'\n{STOP}")
    assert call_tool('train.py', stopping, '--work-dir', 'parts', *options) == 130
    assert [path.name for path in (tmp_path / 'parts').glob('iter_*.pth')] == ['iter_2.pth']
    assert call_tool('train.py', config, '--work-dir', 'parts', '--resume', *options) == 0
    whole, parts = weights(tmp_path / 'whole'), weights(tmp_path / 'parts')
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
