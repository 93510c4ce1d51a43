"""MeanIoU by hand, against mmseg's metric and against Cityscapes' own script; mmseg's metric on our data samples."""

import math
import warnings

import cv2
import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope
from mmseg.evaluation import IoUMetric

from mmseg_oneformer.datasets.benchmarks import CITYSCAPES, CITYSCAPES_LABEL_IDS
from mmseg_oneformer.evaluation.mean_iou import MeanIoU, class_areas
from mmseg_oneformer.zoo.configs import read_config

CITYSCAPES_MODEL = 'oneformer_r50_8xb2-90k_cityscapes-512x1024'
BOTH = pytest.mark.parametrize('metric', ['MeanIoU', 'mmseg.IoUMetric'])
FALSE_CLASS = np.array([[0, 1, 1, 1, 1, 2, 2, 2]]), np.array([[3, 0, 0, 0, 2, 2, 2, 4]])
"""Segments and predictions: 1 pixel void, 4 of class 0, 3 of class 2; 4 is only predicted, 1 and 3 are nowhere."""


def evaluate(drawn, pairs, metric='MeanIoU', meta=None, **options):
    evaluator = Evaluator(dict(type=metric, **options))
    evaluator.dataset_meta = meta or drawn.META
    for img_id, (gt_map, segments, prediction) in enumerate(pairs):
        evaluator.process([drawn.make_sample(img_id, gt_map, segments, {'semantic': prediction})])
    return evaluator.evaluate(len(pairs))


def stuff(*labels):
    return [{'id': i + 1, 'label': label, 'isthing': False, 'iscrowd': False} for i, label in enumerate(labels)]


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
@pytest.mark.parametrize('options', [{}, {'average': 'all'}, {'metric': 'mmseg.IoUMetric'}], ids=str)
def test_mean_iou__hand_computed_with_void_and_absent_classes(drawn, scope, options):
    gt_map, prediction = FALSE_CLASS
    with DefaultScope.overwrite_default_scope(scope):
        metrics = evaluate(drawn, [(gt_map, stuff(0, 2), prediction)], **options)
    # IoU: class 0 3/4, class 2 2/4, class 4 0/1 or none; accuracy: class 0 3/4, class 2 2/3
    assert metrics['mIoU'] == pytest.approx(100 * (3 / 4 + 2 / 4) / (3 if options else 2), abs=0.005)
    assert metrics['mAcc'] == pytest.approx(100 * (3 / 4 + 2 / 3) / 2, abs=0.005)
    assert metrics['aAcc'] == pytest.approx(100 * 5 / 7, abs=0.005)
    if 'metric' not in options:
        assert metrics['fwIoU'] == pytest.approx(100 * (4 * 3 / 4 + 3 * 2 / 4) / 7)


@pytest.mark.parametrize('average', ['annotated', 'all'])
def test_mean_iou__equals_other_evaluators_on_random_maps(drawn, average):
    """Maps in which some classes are only annotated and some only predicted; mmseg's metric rounds to 2 digits."""
    rng = np.random.default_rng(0)
    for num_classes in (3, 5, 5, 5):
        images = [drawn.random_truth(rng, num_classes=num_classes) for _ in range(2)]
        absent = images[0][1][0]['label']
        for _, segments in images:
            for segment in segments:
                if segment['label'] == absent:
                    segment['label'] = (absent + 1) % num_classes
        pairs = [(*image, rng.integers(0, num_classes, image[0].shape)) for image in images]
        metrics = evaluate(drawn, pairs, average=average)
        expected = reference_scores(pairs, 5) if average == 'annotated' else evaluate(drawn, pairs, 'mmseg.IoUMetric')
        assert metrics == pytest.approx(
            expected | {'fwIoU': metrics['fwIoU']}, abs=0.0051 if average == 'all' else 1e-9
        )
        assert metrics['fwIoU'] == pytest.approx(reference_scores(pairs, 5)['fwIoU'])


def reference_scores(pairs, num_classes):
    """What detectron2's ``SemSegEvaluator`` computes, class by class in plain Python."""
    truth, prediction = [], []
    for gt_map, segments, predicted in pairs:
        label_of = np.array([-1, *(segment['label'] for segment in segments)])
        truth += label_of[gt_map].ravel().tolist()
        prediction += predicted.ravel().tolist()
    known = [(t, p) for t, p in zip(truth, prediction) if t >= 0]
    iou, accuracy, share = [], [], []
    for label in range(num_classes):
        annotated = sum(t == label for t, _ in known)
        if annotated:
            shared = sum(t == p == label for t, p in known)
            iou.append(shared / sum(label in pair for pair in known))
            accuracy.append(shared / annotated)
            share.append(annotated / len(known))
    return {
        'mIoU': 100 * sum(iou) / len(iou),
        'fwIoU': 100 * sum(value * part for value, part in zip(iou, share)),
        'mAcc': 100 * sum(accuracy) / len(accuracy),
        'aAcc': 100 * sum(t == p for t, p in known) / len(known),
    }


def test_mean_iou__classes_follow_the_average(drawn):
    gt_map, prediction = FALSE_CLASS
    for average, of_class_4 in (('annotated', math.nan), ('all', 0)):
        metric = MeanIoU(average=average)
        metric.dataset_meta = drawn.META
        metric.process(None, [drawn.make_sample(0, gt_map, stuff(0, 2), {'semantic': prediction}).to_dict()])
        metric.evaluate(1)
        values = metric.class_values['IoU'].tolist()
        assert values == pytest.approx([75, math.nan, 50, math.nan, of_class_4], nan_ok=True)


def test_mean_iou__nothing_annotated_is_nan(drawn):
    one = np.zeros((2, 3), dtype=int)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        metrics = evaluate(drawn, [(one, [], one)])
    assert all(math.isnan(value) for value in metrics.values())


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
    assert evaluator.evaluate(1) == {'mIoU': 100, 'fwIoU': pytest.approx(100), 'mAcc': 100, 'aAcc': 100}


def test_mean_iou__equals_the_official_script_of_cityscapes(drawn, tmp_path, monkeypatch):
    script = pytest.importorskip(
        'cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling', reason='pip install cityscapesScripts'
    )
    rng = np.random.default_rng(1)
    label_ids, pairs, files = np.array([0, *CITYSCAPES_LABEL_IDS]), [], ([], [])
    for number in range(5):
        blocks = rng.integers(0, 17, (8, 9))  # 0 = void; of the last three classes one is predicted
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
    (average,) = {
        metric.get('average') for metric in read_config(CITYSCAPES_MODEL).val_evaluator if metric.type == 'MeanIoU'
    }
    metrics = evaluate(drawn, pairs, meta=CITYSCAPES, average=average)
    assert metrics['mIoU'] == pytest.approx(100 * expected['averageScoreClasses'], abs=1e-12)
    assert 20 < metrics['mIoU'] < 90


def test_mean_iou__mistakes_are_named(drawn):
    one = np.ones((2, 3), dtype=int)
    with pytest.raises(ValueError, match=r'photo_0.jpg: the prediction is \(2, 4\) and the annotation \(2, 3\)'):
        evaluate(drawn, [(one, stuff(0), np.zeros((2, 4), dtype=int))])
    with pytest.raises(ValueError, match=r'pixels of class 7, but there are only classes 0 to 4 and void \(255\)'):
        class_areas(one * 7, one, 5, 255)
    with pytest.raises(ValueError, match="average of MeanIoU is 'mean'; choose 'annotated' or 'all'"):
        MeanIoU(average='mean')
    with pytest.raises(ValueError, match='negative'):
        class_areas(one, -one, 5, 255)
    evaluator = Evaluator({'type': 'MeanIoU'})
    evaluator.dataset_meta = drawn.META
    sample = drawn.make_sample(3, one, stuff(0), {'semantic': one})
    del sample.gt_sem_seg
    with pytest.raises(ValueError, match=r'photo_3.jpg has no annotation to compare with'):
        evaluator.process([sample])
