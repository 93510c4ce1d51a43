"""MeanIoU by hand, against mmseg's metric and against Cityscapes' own script; mmseg's metric on our data samples."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope
from mmseg.evaluation import IoUMetric

from mmseg_oneformer.datasets.benchmarks import CITYSCAPES, CITYSCAPES_LABEL_IDS
from mmseg_oneformer.evaluation.mean_iou import class_areas

BOTH = pytest.mark.parametrize('metric', ['MeanIoU', 'mmseg.IoUMetric'])


def evaluate(drawn, pairs, metric='MeanIoU', meta=None, **options):
    evaluator = Evaluator(dict(type=metric, **options))
    evaluator.dataset_meta = meta or drawn.META
    for img_id, (gt_map, segments, prediction) in enumerate(pairs):
        evaluator.process([drawn.make_sample(img_id, gt_map, segments, {'semantic': prediction})])
    return evaluator.evaluate(len(pairs))


def stuff(*labels):
    return [{'id': i + 1, 'label': label, 'isthing': False, 'iscrowd': False} for i, label in enumerate(labels)]


@BOTH
@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
def test_mean_iou__hand_computed_with_void_and_absent_classes(drawn, scope, metric):
    # 8 pixels: 1 void, 4 of class 0, 3 of class 2. Class 4 is only predicted, classes 1 and 3 do not occur at all.
    gt_map = np.array([[0, 1, 1, 1, 1, 2, 2, 2]])
    prediction = np.array([[3, 0, 0, 0, 2, 2, 2, 4]])
    with DefaultScope.overwrite_default_scope(scope):
        metrics = evaluate(drawn, [(gt_map, stuff(0, 2), prediction)], metric)
    # IoU: class 0 3/4, class 2 2/4, class 4 0/1; accuracy: class 0 3/4, class 2 2/3
    assert metrics['mIoU'] == pytest.approx(100 * (3 / 4 + 2 / 4 + 0) / 3, abs=0.005)
    assert metrics['mAcc'] == pytest.approx(100 * (3 / 4 + 2 / 3) / 2, abs=0.005)
    assert metrics['aAcc'] == pytest.approx(100 * 5 / 7, abs=0.005)


@BOTH
def test_mean_iou__images_of_different_sizes_add_up(drawn, metric):
    pairs = [
        (np.ones((3, 5), dtype=int), stuff(0), np.zeros((3, 5), dtype=int)),
        (np.ones((1, 5), dtype=int), stuff(2), np.full((1, 5), 0)),
    ]
    assert evaluate(drawn, pairs, metric)['mIoU'] == pytest.approx(100 * (15 / 20 + 0) / 2)


def test_class_areas__equal_mmseg_on_random_maps():
    rng = np.random.default_rng(0)
    for num_classes in (2, 19, 150):
        truth = rng.integers(0, num_classes, (40, 50))
        truth[rng.random(truth.shape) < 0.2] = 255
        prediction = np.where(rng.random(truth.shape) < 0.5, truth, rng.integers(0, num_classes, truth.shape))
        prediction[:2] = 255  # no class
        shared, union, predicted, annotated = IoUMetric.intersect_and_union(
            torch.from_numpy(prediction), torch.from_numpy(truth), num_classes, 255
        )
        ours = class_areas(truth, prediction, num_classes, 255)
        assert ours.shared.tolist() == shared.tolist() and ours.shared.sum() > 100
        assert ours.truth.tolist() == annotated.tolist() and ours.predicted.tolist() == predicted.tolist()
        assert (ours.truth + ours.predicted - ours.shared).tolist() == union.tolist()


def test_class_areas__one_class():
    """``torch.histc``, which mmseg counts with, takes the range 0 to 0 for "any" and adds what is not a class."""
    areas = class_areas(np.array([[0, 0, 0, 255]]), np.array([[0, 0, 255, 0]]), 1, 255)
    assert [part.tolist() for part in areas] == [[2], [3], [2]]


def test_mean_iou__more_than_255_classes(drawn):
    classes = tuple(f'c{k}' for k in range(300))
    truth = np.array([[1, 2, 0]])
    evaluator = Evaluator({'type': 'MeanIoU'})
    evaluator.dataset_meta = {'classes': classes}
    sample = drawn.make_sample(0, truth, stuff(255, 299), {'semantic': np.array([[255, 299, 3]])})
    values = torch.tensor([[[255, 299, 301]]])
    sample.gt_sem_seg.sem_seg = sample.gt_sem_seg.data = values
    evaluator.process([sample])
    assert evaluator.evaluate(1) == {'mIoU': 100, 'mAcc': 100, 'aAcc': 100}


def test_mean_iou__equals_the_official_script_of_cityscapes(drawn, tmp_path, monkeypatch):
    script = pytest.importorskip(
        'cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling', reason='pip install cityscapesScripts'
    )
    rng = np.random.default_rng(1)
    label_ids, pairs, files = np.array([0, *CITYSCAPES_LABEL_IDS]), [], ([], [])
    for number in range(5):
        blocks = rng.integers(0, 18, (8, 9))  # 0 = void; the last two classes do not occur
        index_map = np.kron(blocks, np.ones((9, 7), dtype=int))
        prediction = (
            np.where(rng.random(index_map.shape) < 0.7, index_map - 1, rng.integers(0, 17, index_map.shape)) % 17
        )
        pairs.append((index_map, stuff(*range(19)), prediction))
        for kind, values in zip(files, (label_ids[prediction + 1], label_ids[index_map])):
            kind.append(str(tmp_path / f'{number}_{len(files[0])}_{kind is files[0]}_labelIds.png'))
            cv2.imwrite(kind[-1], values.astype(np.uint8))
    for key, value in dict(evalInstLevelScore=False, quiet=True, JSONOutput=False).items():
        monkeypatch.setattr(script.args, key, value)
    expected = script.evaluateImgLists(*files, script.args)
    metrics = evaluate(drawn, pairs, meta=CITYSCAPES)
    assert metrics['mIoU'] == pytest.approx(100 * expected['averageScoreClasses'], abs=1e-12)
    assert 20 < metrics['mIoU'] < 90


def test_mean_iou__mistakes_are_named(drawn):
    one = np.ones((2, 3), dtype=int)
    with pytest.raises(ValueError, match=r'photo_0.jpg: the prediction is \(2, 4\) and the annotation \(2, 3\)'):
        evaluate(drawn, [(one, stuff(0), np.zeros((2, 4), dtype=int))])
    with pytest.raises(ValueError, match=r'pixels of class 7, but there are only classes 0 to 4 and void \(255\)'):
        class_areas(one * 7, one, 5, 255)
    with pytest.raises(ValueError, match='negative'):
        class_areas(one, -one, 5, 255)
    evaluator = Evaluator({'type': 'MeanIoU'})
    evaluator.dataset_meta = drawn.META
    sample = drawn.make_sample(3, one, stuff(0), {'semantic': one})
    del sample.gt_sem_seg
    with pytest.raises(ValueError, match=r'photo_3.jpg has no annotation to compare with'):
        evaluator.process([sample])
