"""Panoptic, semantic and instance annotations in one run, through the tools."""

import socket

import pytest
import torch

from mmseg_oneformer.zoo.configs import find_config

QUICKSTART = find_config('oneformer_r18-narrow_1xb16-6k_shapes-96x96')
CONFIG = f"""
_base_ = '{QUICKSTART}'
custom_imports = dict(imports=['mmseg_oneformer', 'record_samples'])
model = dict(
    head=dict(num_queries=8, pixel_decoder=dict(dropout=0.1), query_initializer=dict(dropout=0.1)),
    criterion=dict(num_points=64),
)
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        _delete_=True,
        type='MixedDataset',
        metainfo=dict(
            classes=('sky', 'grass', 'water', 'ball', 'box', 'cone', 'star'), thing_ids={{{{_base_.thing_ids}}}}
        ),
        pipeline={{{{_base_.train_pipeline}}}},
        sources=[
            dict(
                type='ShapesPanoptic',
                data_root='shapes',
                ann_file='annotations/panoptic_train.json',
                data_prefix=dict(img='train', seg='annotations/panoptic_train'),
            ),
            dict(
                type='SemanticDataset',
                data_root='semantic',
                metainfo=dict(classes=('ball', 'sky', 'water', 'grass')),
                data_prefix=dict(img='train', seg='masks/train'),
                task_probs=dict(semantic=1.0),
            ),
            dict(
                type='InstanceDataset',
                data_root='instance',
                ann_file='annotations/instances_train.json',
                data_prefix=dict(img='train'),
                task_probs=dict(instance=1.0),
            ),
        ],
        weights=(2, 1, 1),
    ),
)
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(data_root='shapes'))
train_cfg = dict(max_iters=5, val_interval=5)
default_hooks = dict(checkpoint=dict(interval=2), logger=dict(interval=1))
custom_hooks = [dict(type='CheckClasses'), dict(type='StopAtInvalidLoss', interval=1), dict(type='RecordSamples')]
"""
STOPS = 'custom_hooks.2.raise_after=3'


@pytest.fixture
def config(sources, tmp_path):
    """The mix over drawn shapes, as a file in the folder that the tools run in."""
    sources.draw_sources(tmp_path, train=6, val=2)
    (tmp_path / 'mix.py').write_text(CONFIG)
    return 'mix.py'


def lines(work_dir, kind, rank=0):
    """What was recorded, by iteration; a resumed run says some iterations again."""
    found = {}
    for line in (work_dir / f'{kind}_{rank}.txt').read_text().splitlines():
        iteration, _, rest = line.partition(' ')
        found.setdefault(int(iteration), []).append(rest)
    return found


def losses(work_dir):
    """Losses (iterations, terms); of an iteration that was computed twice, the second time."""
    rows = [found[-1].split() for _, found in sorted(lines(work_dir, 'losses').items())]
    return torch.tensor([[float.fromhex(term.partition('=')[2]) for term in row] for row in rows], dtype=torch.float64)


def test_train__three_kinds_stopped_and_resumed_is_equal(call_tool, config, tmp_path):
    assert call_tool('train.py', config, '--work-dir', 'whole') == 0
    seen = [entry.split(' ', 2) for entries in lines(tmp_path / 'whole', 'samples').values() for entry in entries]
    tasks = {kind: {task for photo, task, _ in seen if photo.startswith(kind)} for kind in ('semantic', 'instance')}
    assert tasks == {'semantic': {'semantic'}, 'instance': {'instance'}}
    assert sum(photo.startswith('shapes') for photo, _, _ in seen) >= len(seen) / 3
    assert len(seen) == 20 and losses(tmp_path / 'whole').isfinite().all()

    assert call_tool('train.py', config, '--work-dir', 'parts', '--cfg-options', STOPS) == 130
    assert call_tool('train.py', config, '--work-dir', 'parts', '--resume') == 0
    assert torch.equal(losses(tmp_path / 'whole'), losses(tmp_path / 'parts'))
    assert losses(tmp_path / 'parts').shape[0] == 5
    one, two = (
        torch.load(tmp_path / folder / 'iter_5.pth', weights_only=False)['state_dict'] for folder in ('whole', 'parts')
    )
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_train__a_source_drawn_for_what_it_does_not_support(call_tool, config, capsys):
    options = ('--cfg-options', 'train_dataloader.dataset.sources.1.task_probs=None')
    assert call_tool('train.py', config, '--work-dir', 'w', *options) == 2
    (sentence,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    assert 'masks/train is annotated for semantic alone and may be drawn for instance; set task_probs=' in sentence


def test_train__classes_of_the_mix_and_of_the_model(call_tool, config, capsys):
    assert call_tool('train.py', config, '--work-dir', 'w', '--cfg-options', 'model.head.num_classes=6') == 2
    assert 'the model has 6 classes and the data have 7' in capsys.readouterr().err


@pytest.mark.slow
def test_dist_train__two_processes_see_what_one_sees(run_tool, config, tmp_path):
    alone = run_tool('train.py', config, '--work-dir', 'one', '--cfg-options', 'train_cfg.val_interval=9')
    assert alone.returncode == 0, alone.stderr
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        port = {'PORT': str(server.getsockname()[1])}
    options = ('--cfg-options', 'train_dataloader.batch_size=2', 'train_dataloader.num_workers=1')
    two = run_tool('dist_train.sh', config, 2, '--work-dir', 'two', *options, env=port)
    assert two.returncode == 0, two.stderr
    ranks = [lines(tmp_path / 'two', 'samples', rank) for rank in (0, 1)]
    expected = lines(tmp_path / 'one', 'samples')
    assert sorted(expected) == list(range(5))
    assert all(sorted(ranks[0][k] + ranks[1][k]) == sorted(entries) for k, entries in expected.items())
    assert all(len(ranks[rank][k]) == 2 for rank in (0, 1) for k in expected)
