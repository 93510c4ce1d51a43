from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.registry import HOOKS, VISUALIZERS
from mmengine.structures import InstanceData, PixelData
from mmseg.visualization import SegLocalVisualizer
from PIL import Image

from mmseg_oneformer.datasets.ade20k import Ade20kPanoptic
from mmseg_oneformer.visualization.samples import display_names, draw_predictions, draw_tokens, draw_truth
from mmseg_oneformer.visualization.visualizer import OneFormerVisualizer

META = {'classes': ('disc', 'sky'), 'palette': [(200, 40, 60), (80, 140, 220)]}


def make_sample():
    ids = torch.full((1, 40, 50), 1001, dtype=torch.int32)
    ids[:, 10:30, 10:30] = 1000
    sample = DetDataSample(metainfo={'segments_info': [{'id': 9, 'label': 0, 'isthing': True, 'iscrowd': False}]})
    sample.pred_sem_seg = PixelData(sem_seg=(ids == 1001).long(), data=(ids == 1001).long())
    segments = [
        {'id': 1000, 'category_id': 0, 'isthing': True, 'score': 0.9},
        {'id': 1001, 'category_id': 1, 'isthing': False, 'score': 0.9},
    ]
    sample.pred_panoptic_seg = PixelData(metainfo={'segments_info': segments}, sem_seg=ids, data=ids)
    sample.pred_instances = InstanceData(
        labels=torch.tensor([0]),
        scores=torch.tensor([0.9]),
        bboxes=torch.tensor([[10.0, 10, 30, 30]]),
        masks=ids == 1000,
    )
    truth = (ids == 1000).int()
    sample.gt_panoptic_seg = PixelData(sem_seg=truth, data=truth)
    return sample


def photo():
    return np.full((40, 50, 3), 100, np.uint8)


@pytest.mark.parametrize('palette', [META['palette'], 'random', None])
def test_draw_predictions__what_the_sample_has(palette):
    sample, meta = make_sample(), {'classes': META['classes'], 'palette': palette}
    assert list(draw_predictions(photo(), sample, meta)) == ['semantic', 'instance', 'panoptic']
    del sample.pred_sem_seg
    assert list(draw_predictions(photo(), sample, meta)) == ['instance', 'panoptic']


def test_draw_predictions__short_names():
    """Pictures of a long-named class equal those of its first word; where that is not enough, names stay whole."""
    short = draw_predictions(photo(), make_sample(), META)
    long = draw_predictions(photo(), make_sample(), {**META, 'classes': ('disc, dial, plate', 'sky ')})
    assert all((short[task] == long[task]).all() for task in short)
    truths = [
        draw_truth(photo(), make_sample(), {**META, 'classes': (name, 'sky')}) for name in ('disc', 'disc, dial, plate')
    ]
    assert (truths[0] == truths[1]).all()
    assert display_names(('disc, red', 'disc, blue', 'window ')) == ('disc, red', 'disc, blue', 'window ')
    names = display_names(Ade20kPanoptic.METAINFO['classes'])
    assert (names[8], names[44], names[65]) == ('window', 'chest of drawers', 'toilet') and len(set(names)) == 150


def test_draw_tokens__matrix():
    page = draw_tokens(photo(), {'semantic': make_sample(), 'panoptic': make_sample()}, META, height=100)
    assert page.shape[0] > 200 and page.shape[1] > 375


def test_visualizer__built_in_the_root_and_an_mmseg_visualizer(tmp_path):
    visualizer = VISUALIZERS.build({'type': 'OneFormerVisualizer', 'name': 'root', 'save_dir': str(tmp_path)})
    assert isinstance(visualizer, OneFormerVisualizer) and isinstance(visualizer, SegLocalVisualizer)


def test_visualizer__writes_a_file(tmp_path):
    visualizer = OneFormerVisualizer(name='file', dataset_meta=META, save_dir=str(tmp_path))
    sample, widths = make_sample(), []
    for kwargs in ({}, {'draw_gt': False}, {'draw_pred': False}):
        visualizer.add_datasample('x', photo(), sample, out_file=str(tmp_path / 'a/x.png'), with_labels=True, **kwargs)
        widths.append(Image.open(tmp_path / 'a/x.png').size[0])
    assert widths[0] > widths[1] > widths[2]
    assert 'pred_sem_seg' in sample and 'gt_panoptic_seg' in sample


def test_visualizer__back_end_gets_the_step(tmp_path):
    visualizer = OneFormerVisualizer(name='step', dataset_meta=META, save_dir=str(tmp_path))
    visualizer.add_datasample('x', photo(), make_sample(), step=7, pred_score_thr=0.3)
    assert [path.name for path in tmp_path.rglob('*.png')] == ['x_7.png']


@pytest.mark.parametrize('library', ['mmdet', 'mmseg'])
def test_visualizer__hooks(library, tmp_path):
    path = tmp_path / 'photo.png'
    Image.fromarray(photo()).save(path)
    sample = make_sample()
    sample.set_metainfo({'img_path': str(path)})
    visualizer = OneFormerVisualizer.get_instance(f'hook_{library}', save_dir=str(tmp_path), dataset_meta=META)
    name = {'mmdet': 'mmdet.DetVisualizationHook', 'mmseg': 'mmseg.SegVisualizationHook'}[library]
    hook = HOOKS.build({'type': name, 'draw': True, 'interval': 1})
    hook._visualizer = visualizer
    runner = SimpleNamespace(iter=0, timestamp='now', work_dir=str(tmp_path))
    hook.after_val_iter(runner, 0, {}, [sample])
    assert [file for file in tmp_path.rglob('*.png') if file != path]


def test_visualizer__unknown_classes(tmp_path):
    visualizer = OneFormerVisualizer(name='unknown', save_dir=str(tmp_path))
    with pytest.raises(ValueError, match='dataset_meta'):
        visualizer.add_datasample('x', photo(), make_sample())
