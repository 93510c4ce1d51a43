"""mmseg's IoUMetric on our data samples."""

import numpy as np
import pytest
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope


def evaluate(drawn, pairs, **options):
    evaluator = Evaluator(dict(type='mmseg.IoUMetric', **options))
    evaluator.dataset_meta = drawn.META
    for img_id, (gt_map, segments, answer) in enumerate(pairs):
        evaluator.process([drawn.make_sample(img_id, gt_map, segments, {'semantic': answer})])
    return evaluator.evaluate(len(pairs))


def stuff(*labels):
    return [{'id': i + 1, 'label': label, 'isthing': False, 'iscrowd': False} for i, label in enumerate(labels)]


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
def test_mean_iou__hand_computed_with_void_and_absent_classes(drawn, scope):
    # 8 pixels: 1 void, 4 of class 0, 3 of class 2. Class 4 is only predicted, classes 1 and 3 do not occur at all.
    gt_map = np.array([[0, 1, 1, 1, 1, 2, 2, 2]])
    answer = np.array([[3, 0, 0, 0, 2, 2, 2, 4]])
    with DefaultScope.overwrite_default_scope(scope):
        metrics = evaluate(drawn, [(gt_map, stuff(0, 2), answer)])
    # IoU: class 0 3/4, class 2 2/4, class 4 0/1; accuracy: class 0 3/4, class 2 2/3
    assert metrics['mIoU'] == pytest.approx(100 * (3 / 4 + 2 / 4 + 0) / 3, abs=0.005)
    assert metrics['mAcc'] == pytest.approx(100 * (3 / 4 + 2 / 3) / 2, abs=0.005)
    assert metrics['aAcc'] == pytest.approx(100 * 5 / 7, abs=0.005)


def test_mean_iou__images_of_different_sizes_add_up(drawn):
    pairs = [
        (np.ones((3, 5), dtype=int), stuff(0), np.zeros((3, 5), dtype=int)),
        (np.ones((1, 5), dtype=int), stuff(2), np.full((1, 5), 0)),
    ]
    assert evaluate(drawn, pairs)['mIoU'] == pytest.approx(100 * (15 / 20 + 0) / 2)
