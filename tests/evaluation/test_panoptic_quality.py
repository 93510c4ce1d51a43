import math

import numpy as np
import pytest
from mmengine.evaluator import Evaluator

from mmseg_oneformer.evaluation.panoptic_quality import PanopticQuality, PQStatistics, pq_statistics, summarize_quality

K = 5


def gt(label, iscrowd=False):
    return {'id': label + 50, 'label': label, 'isthing': True, 'iscrowd': iscrowd}


def pred(label, k=1):
    return {'id': label + 1000 * k, 'category_id': label, 'isthing': True, 'score': 0.9}


def row(*runs):
    """A map of one row from (value, length) runs."""
    return np.concatenate([np.full(length, value) for value, length in runs])[None]


def check(statistics, iou_sum=(), tp=(), fp=(), fn=()):
    """Compare with class: value pairs; everything else is zero."""
    for values, expected in zip(statistics, (iou_sum, tp, fp, fn)):
        full = np.zeros(K)
        for label, value in dict(expected).items():
            full[label] = value
        assert values.tolist() == full.tolist()


def test_pq_statistics__equals_the_protocol_on_random_maps(drawn, protocol):
    rng = np.random.default_rng(0)
    seen = np.zeros(4)
    for trial in range(150):
        gt_map, gt_segments = drawn.random_truth(rng, num_segments=int(rng.integers(1, 20)))
        noise = float(rng.choice([0.0, 0.2, 0.5, 0.9]))
        pred_map, pred_segments = drawn.disturb(rng, gt_map, gt_segments, noise=noise)
        ours = pq_statistics(gt_map, gt_segments, pred_map, pred_segments, K)
        theirs = protocol.statistics(gt_map, gt_segments, pred_map, pred_segments, K)
        for a, b in zip(ours, theirs):
            assert a.tolist() == list(b), trial
        seen += [np.sum(values) for values in ours]
    assert (seen > 50).all()  # every kind of outcome occurred


def test_pq_statistics__iou_of_one_half_is_no_match():
    prediction = row((1001, 4), (K, 8))
    check(pq_statistics(row((1, 8), (0, 4)), [gt(1)], prediction, [pred(1)], K), fp={1: 1}, fn={1: 1})
    prediction = row((1001, 5), (K, 7))
    check(pq_statistics(row((1, 8), (0, 4)), [gt(1)], prediction, [pred(1)], K), iou_sum={1: 5 / 8}, tp={1: 1})


def test_pq_statistics__void_is_not_in_the_union():
    statistics = pq_statistics(row((1, 4), (0, 6)), [gt(1)], row((1001, 10)), [pred(1)], K)
    check(statistics, iou_sum={1: 1.0}, tp={1: 1})


def test_pq_statistics__predicted_void_stays_in_the_union():
    statistics = pq_statistics(row((1, 10)), [gt(1)], row((1001, 6), (K, 4)), [pred(1)], K)
    check(statistics, iou_sum={1: 0.6}, tp={1: 1})


@pytest.mark.parametrize(('on_void', 'wrong'), [(5, 1), (6, 0)])
def test_pq_statistics__prediction_over_void_is_excused_above_one_half(on_void, wrong):
    gt_map = row((0, on_void), (1, 10 - on_void), (1, 20))
    statistics = pq_statistics(gt_map, [gt(1)], row((1003, 10), (1001, 20)), [pred(3), pred(1)], K)
    assert statistics.fp.tolist() == [0, 0, 0, wrong, 0]


@pytest.mark.parametrize(('label', 'wrong'), [(1, 0), (3, 1)])
def test_pq_statistics__crowd_excuses_its_own_class_only(label, wrong):
    statistics = pq_statistics(row((1, 10)), [gt(1, iscrowd=True)], row((label + 1000, 10)), [pred(label)], K)
    assert statistics.fp.sum() == wrong
    assert statistics.tp.sum() == statistics.fn.sum() == 0  # a crowd is neither found nor missed


def test_pq_statistics__of_two_crowds_the_last_counts():
    segments = [gt(1, iscrowd=True), gt(1, iscrowd=True)]
    statistics = pq_statistics(row((1, 10), (2, 10)), segments, row((1001, 10), (2001, 10)), [pred(1), pred(1, 2)], K)
    check(statistics, fp={1: 1})


def test_pq_statistics__void_and_crowd_add_up():
    statistics = pq_statistics(row((0, 3), (1, 3), (2, 4)), [gt(1, True), gt(3)], row((1001, 10)), [pred(1)], K)
    check(statistics, fn={3: 1})


def test_pq_statistics__wrong_class_is_missed_and_false():
    statistics = pq_statistics(row((1, 10)), [gt(1)], row((1003, 10)), [pred(3)], K)
    check(statistics, fp={3: 1}, fn={1: 1})


def test_pq_statistics__class_zero_is_a_segment_like_any_other():
    statistics = pq_statistics(row((1, 10)), [gt(0)], row((1000, 10)), [pred(0)], K)
    check(statistics, iou_sum={0: 1.0}, tp={0: 1})


def test_pq_statistics__empty_prediction_misses_everything():
    statistics = pq_statistics(row((1, 6), (2, 4)), [gt(1), gt(0)], row((K, 10)), [], K)
    check(statistics, fn={0: 1, 1: 1})


def test_pq_statistics__image_without_segments():
    check(pq_statistics(row((0, 10)), [], row((1001, 10)), [pred(1)], K))
    check(pq_statistics(row((0, 10)), [], row((K, 10)), [], K))


def test_pq_statistics__id_without_entry_is_rejected():
    with pytest.raises(ValueError, match='id 1003 is in the predicted map but not in segments_info'):
        pq_statistics(row((1, 10)), [gt(1)], row((1001, 5), (1003, 5)), [pred(1)], K)
    with pytest.raises(ValueError, match='id 7 is in the predicted map'):
        pq_statistics(row((1, 10)), [gt(1)], row((1001, 5), (7, 5)), [pred(1)], K)


def test_pq_statistics__entry_without_pixel_is_rejected():
    with pytest.raises(ValueError, match='segment 1003 is in segments_info but has no pixel'):
        pq_statistics(row((1, 10)), [gt(1)], row((1001, 10)), [pred(1), pred(3)], K)


@pytest.mark.parametrize('identity', [-4, 0, K, 1001])
def test_pq_statistics__ambiguous_ids_are_rejected(identity):
    segments = [pred(1), pred(3) | {'id': identity}]
    with pytest.raises(ValueError, match='must be distinct'):
        pq_statistics(row((1, 10)), [gt(1)], row((1001, 5), (identity, 5)), segments, K)


def test_pq_statistics__impossible_input_is_rejected():
    with pytest.raises(ValueError, match='original size'):
        pq_statistics(row((1, 10)), [gt(1)], row((1001, 9)), [pred(1)], K)
    with pytest.raises(ValueError, match='class 5'):
        pq_statistics(row((1, 10)), [gt(1)], row((1005, 10)), [pred(5)], K)
    with pytest.raises(ValueError, match='annotation map'):
        pq_statistics(row((2, 10)), [gt(1)], row((1001, 10)), [pred(1)], K)
    with pytest.raises(ValueError, match='id -1 is in the predicted map'):
        pq_statistics(row((1, 10)), [gt(1)], row((1001, 5), (-1, 5)), [pred(1)], K)


def test_summarize_quality__hand_computed_and_absent_classes_left_out():
    # class: 0 stuff found once of two, 1 thing found at 0.8, 2 stuff never seen, 3 thing only false, 4 stuff never seen
    statistics = PQStatistics(*np.array([[0.9, 0.8, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 2, 0], [1, 0, 0, 0, 0]]))
    metrics = summarize_quality(statistics, thing_ids=(1, 3))
    assert metrics['PQ'] == pytest.approx(100 * (0.6 + 0.8 + 0) / 3)
    assert metrics['SQ'] == pytest.approx(100 * (0.9 + 0.8 + 0) / 3)
    assert metrics['RQ'] == pytest.approx(100 * (2 / 3 + 1 + 0) / 3)
    assert metrics['PQ_th'] == pytest.approx(40)
    assert metrics['PQ_st'] == pytest.approx(60)
    assert list(metrics) == ['PQ', 'SQ', 'RQ', 'PQ_th', 'SQ_th', 'RQ_th', 'PQ_st', 'SQ_st', 'RQ_st']
    assert math.isnan(summarize_quality(PQStatistics(*np.zeros((4, 5))), (1, 3))['PQ'])


def test_panoptic_quality__equals_the_protocol_over_a_data_set(drawn, protocol):
    rng = np.random.default_rng(1)
    evaluator = Evaluator({'type': 'PanopticQuality'})
    evaluator.dataset_meta = drawn.META
    totals = np.zeros((4, K))
    for image in range(7):
        gt_map, gt_segments = drawn.random_truth(rng, num_segments=12)
        prediction = drawn.disturb(rng, gt_map, gt_segments)
        totals += np.array(protocol.statistics(gt_map, gt_segments, *prediction, K))
        evaluator.process([drawn.make_sample(image, gt_map, gt_segments, {'panoptic': prediction})])
    metrics = evaluator.evaluate(7)
    for suffix, labels in (('', range(K)), ('_th', drawn.THING_IDS), ('_st', (0, 2, 4))):
        expected = protocol.average(*totals, labels)
        assert tuple(metrics[name + suffix] for name in ('PQ', 'SQ', 'RQ')) == expected


def test_panoptic_quality__perfect_predictions_give_100(drawn):
    rng = np.random.default_rng(2)
    evaluator = Evaluator({'type': 'PanopticQuality'})
    evaluator.dataset_meta = drawn.META
    for image in range(4):
        gt_map, gt_segments = drawn.random_truth(rng, crowds=False, num_segments=20)
        prediction = drawn.perfect(gt_map, gt_segments)['panoptic']
        evaluator.process([drawn.make_sample(image, gt_map, gt_segments, {'panoptic': prediction})])
    assert set(evaluator.evaluate(4).values()) == {100.0}


def test_panoptic_quality__errors_name_the_image(drawn):
    metric = PanopticQuality()
    metric.dataset_meta = drawn.META
    sample = drawn.make_sample(3, row((1, 10)), [gt(1)], {'panoptic': (row((1003, 10)), [])})
    with pytest.raises(ValueError, match=r'photo_3.jpg: id 1003'):
        metric.process(None, [sample.to_dict()])
    sample = drawn.make_sample(4, row((1, 10)), [gt(1)], {'panoptic': (row((K, 10)), [])})
    del sample.gt_panoptic_seg
    with pytest.raises(ValueError, match=r'photo_4.jpg has no panoptic annotation'):
        metric.process(None, [sample.to_dict()])
