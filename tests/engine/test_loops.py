import random
import types

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample

from mmseg_oneformer.engine.loops import ResumableIterLoop, seed_iteration


def draw():
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_seed_iteration__is_a_function_of_seed_rank_and_iteration():
    drawn = {}
    for key in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (7, 3, 9)]:
        seed_iteration(*key)
        drawn[key] = draw()
        draw()
        seed_iteration(*key)
        assert draw() == drawn[key]
    assert len({value for values in drawn.values() for value in values}) == 15


def loop(**kwargs):
    loader = types.SimpleNamespace(dataset=types.SimpleNamespace(metainfo={'classes': ('a',)}), batch_sampler=None)
    runner = types.SimpleNamespace(visualizer=types.SimpleNamespace(), val_loop=object(), optim_wrapper=None)
    return ResumableIterLoop(runner, loader, **kwargs)


def test_resumable_loop__validation_at_the_interval_and_at_the_end():
    train = loop(max_iters=10, val_interval=4, val_begin=5)
    due = []
    for train._iter in range(1, 11):
        due.append(train._is_validation_due())
    assert [i for i, value in enumerate(due, 1) if value] == [8, 10]
    assert train.runner.visualizer.dataset_meta == {'classes': ('a',)}


@pytest.mark.parametrize('max_iters', [0, 2.5])
def test_resumable_loop__max_iters(max_iters):
    with pytest.raises(ValueError, match='max_iters'):
        loop(max_iters=max_iters)


def test_resumable_loop__rejects_to_resume_inside_an_accumulated_step():
    train = loop(max_iters=10)
    train.runner.optim_wrapper = types.SimpleNamespace(_accumulative_counts=4)
    train._iter = 6
    with pytest.raises(ValueError, match='in the middle of 4 accumulated'):
        train._enter_stream()


def test_resumable_loop__logs_skipped_photos_once_and_ends_at_the_limit(monkeypatch):
    said = []
    monkeypatch.setattr('mmseg_oneformer.engine.loops.print_log', lambda text, *args, **kwargs: said.append(text))
    train = loop(max_iters=10)
    train.dataloader.dataset.max_unreadable = 2

    def batch(*faults):
        return {'data_samples': [DetDataSample(), DetDataSample(metainfo={'skipped_photos': list(faults)})]}

    for faults in (('Image a is empty.',), ('Image a is empty.',), ('Image b is empty.', 'Image a is empty.')):
        train._note_skipped(batch(*faults))
    assert said == [f'Image {name} is empty. Another one is trained on in its place.' for name in 'ab']
    with pytest.raises(ValueError, match=r'Image c is empty\. It is photo 3 of this kind'):
        train._note_skipped(batch('Image c is empty.'))
