"""The loader's benchmark: rows, and that its peer makes the same targets."""

import argparse

import pytest
from mmengine.registry import init_default_scope

from benchmarks import data
from benchmarks.peers.mask_stack import mask_stack_info, mask_stack_pipeline


@pytest.fixture(autouse=True)
def _drawn(monkeypatch, tmp_path):
    """Small pictures, whether photos are there or not."""
    init_default_scope('mmdet')
    monkeypatch.setattr(data, 'PHOTOS', tmp_path / 'absent')
    monkeypatch.setattr(data, 'DRAWN', 64)


def arguments(**options):
    return argparse.Namespace(**{'data': None, 'photos': 2, 'runs': 1, 'warmup': 0, 'device': 'cpu'} | options)


def test_run__rows_of_both_recipes(capsys):
    rows = {row.name: row for row in data.run(arguments())}
    whole = [name for name in rows if '/' not in name]
    assert whole == ['loader-ade20k-512x512', 'loader-coco-1024x1024']
    for name in whole:
        assert rows[name].ratio == rows[name].ours_s / rows[name].peer_s and rows[name].peer == "mmdet's mask stack"
        crop = 'RandomShortestEdgeCrop' if 'ade20k' in name else 'ResizeAndCrop'
        assert {f'{name}/{step}' for step in ('LoadPanopticIds', crop, 'TaskTargets', 'rest')} <= rows.keys()
    assert rows[whole[0]].size == '512x512' and rows[whole[1]].size == '1024x1024'
    assert capsys.readouterr().out.count('the areas of the classes differ by') == 2


def test_run__other_targets_are_an_error(monkeypatch):
    def without_the_last(info, segment_map):
        kept = mask_stack_info(info, segment_map)
        return {**kept, 'segments_info': kept['segments_info'][:-1], 'instances': kept['instances'][:-1]}

    monkeypatch.setattr(data, 'mask_stack_info', without_the_last)
    with pytest.raises(ValueError, match='do not make the same targets'):
        data.run(arguments())


def test_run__no_photos_asked_for():
    with pytest.raises(ValueError, match='--photos is 0; give 1 or more'):
        data.run(arguments(photos=0))


def test_mask_stack_pipeline__unknown_step():
    with pytest.raises(ValueError, match=r'does not support mmdet\.MixUp'):
        mask_stack_pipeline([dict(type='mmdet.MixUp')])
