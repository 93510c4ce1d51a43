"""Panoptic quality against the second implementation: adversarial maps, real photos, and how long counting takes."""

import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.evaluator import Evaluator

from mmseg_oneformer.datasets.panoptic import PanopticDataset
from mmseg_oneformer.evaluation.matching import _overlaps
from mmseg_oneformer.evaluation.panoptic_quality import PQStatistics, pq_statistics, summarize_quality

K = 5
ROOT = Path(__file__).resolve().parents[2]


def gt(label, iscrowd=False):
    return {'id': label + 50, 'label': label, 'isthing': True, 'iscrowd': iscrowd}


def pred(label, k=1):
    return {'id': label + 1000 * k, 'category_id': label, 'isthing': True, 'score': 0.9}


def adversary(rng):
    """Annotation and prediction of few rows, where thresholds are met exactly and everything special happens at once.

    Widths are multiples of 4, so halves are exact; segments may be crowds, absent from the map, of one class, or void.
    """
    num_gt, num_pred = rng.integers(0, 7, 2)
    gt_segments = [gt(int(rng.integers(0, 3)), bool(rng.random() < 0.35)) for _ in range(num_gt)]
    gt_map = rng.integers(0, num_gt + 1, 12).repeat(8)  # some numbers never drawn: listed, but without a pixel
    for k, segment in enumerate(gt_segments, start=1):
        if rng.random() < 0.2:  # ADE20K's JSON lists more than is left to see
            segment['area'] = int((gt_map == k).sum() + rng.integers(0, 9))
    labels = rng.integers(0, K if rng.random() < 0.3 else 3, num_pred)
    pred_segments = [pred(int(label), k) for k, label in enumerate(labels, start=1)]
    ids = np.array([K, *[segment['id'] for segment in pred_segments]])
    aligned = np.minimum(gt_map, num_pred) if rng.random() < 0.6 else rng.integers(0, num_pred + 1, 24).repeat(4)
    moved = rng.random(96) < rng.choice([0.0, 0.1, 0.5])
    pred_map = np.where(moved, rng.choice(ids, 96), ids[aligned])
    pred_segments = [segment for segment in pred_segments if (pred_map == segment['id']).any()]
    return gt_map[None], gt_segments, pred_map[None], pred_segments


def test_pq_statistics__equals_the_protocol_on_adversarial_maps(protocol):
    rng = np.random.default_rng(0)
    seen = dict.fromkeys(('absent', 'half', 'empty', 'crowd', 'void'), 0)
    totals, expected_totals = np.zeros((4, K)), [np.zeros(K) for _ in range(4)]
    for trial in range(1000):
        case = adversary(rng)
        gt_map, gt_segments, pred_map, pred_segments = case
        ours = pq_statistics(*case, K)
        theirs = protocol.statistics(*case, K)
        assert [part.tolist() for part in ours] == [list(part) for part in theirs], trial
        totals += np.stack(ours)
        expected_totals = [total + part for total, part in zip(expected_totals, theirs)]
        seen['absent'] += any(not (gt_map == k).any() for k in range(1, len(gt_segments) + 1))
        seen['empty'] += not pred_segments
        seen['crowd'] += any(segment['iscrowd'] for segment in gt_segments)
        seen['void'] += (gt_map == 0).mean() > 0.5
        areas = [(pred_map == s['id']).sum() for s in pred_segments]
        voids = [((pred_map == s['id']) & (gt_map == 0)).sum() for s in pred_segments]
        seen['half'] += any(2 * void == area for void, area in zip(voids, areas))
    assert min(seen.values()) >= 20, seen
    metrics = summarize_quality(PQStatistics(*totals), thing_ids=(1, 3))
    for suffix, labels in (('', range(K)), ('_th', (1, 3)), ('_st', (0, 2, 4))):
        expected = protocol.average(*expected_totals, labels)
        assert tuple(metrics[name + suffix] for name in ('PQ', 'SQ', 'RQ')) == expected


def test_pq_statistics__listed_segments_without_a_pixel_are_missed():
    gt_map, pred_map = np.ones((1, 8), dtype=int), np.full((1, 8), 1001)
    statistics = pq_statistics(gt_map, [gt(1), gt(3), gt(2, iscrowd=True)], pred_map, [pred(1)], K)
    assert (statistics.tp[1], statistics.fn.tolist(), statistics.fp.sum()) == (1, [0, 0, 0, 1, 0], 0)


@pytest.fixture(scope='module')
def photos():
    """Index map, segments and their classes of every photo of coco_mini, and the metainfo."""
    folder = ROOT / 'data/coco_mini/annotations'
    if not folder.is_dir():
        pytest.skip('the photos of coco_mini are not at data/coco_mini')
    found = []
    for split in ('train', 'val'):
        dataset = PanopticDataset(
            ann_file=str(folder / f'panoptic_{split}2017.json'),
            data_prefix={'img': str(folder.parent / f'{split}2017')},
            test_mode=True,
            pipeline=[{'type': 'LoadPanopticIds'}],
            lazy_init=False,
        )
        found += [
            (sample['gt_seg_map'], sample['segments_info']) for sample in (dataset[i] for i in range(len(dataset)))
        ]
    return found, dataset.metainfo


def perturbed(rng, gt_map, segments, num_classes):
    """The annotation as a prediction: shifted by some pixels, some segments dropped, renamed, merged or cut in two."""
    owner = np.roll(gt_map, rng.integers(-6, 7, 2), (0, 1))
    next_number = len(segments) + 1
    labels = {k: segment['label'] for k, segment in enumerate(segments, start=1)}
    for k in list(labels):
        fate = rng.random()
        if fate < 0.1:
            owner[owner == k] = 0
        elif fate < 0.2:
            labels[k] = int(rng.integers(num_classes))
        elif fate < 0.3:
            owner[owner == k] = rng.integers(1, len(segments) + 1)
        elif fate < 0.4:
            rows, columns = np.nonzero(owner == k)
            cut = columns > np.median(columns) if len(columns) else columns
            owner[rows[cut], columns[cut]] = next_number
            labels[next_number] = labels[k]
            next_number += 1
    present = [k for k in labels if (owner == k).any()]
    ids = np.full(next_number, num_classes)
    ids[present] = [labels[k] + 1000 * k for k in present]
    prediction = [{'id': int(ids[k]), 'category_id': labels[k]} for k in present]
    return ids[owner], prediction


def test_panoptic_quality__equals_the_protocol_on_perturbed_photos(photos, protocol, drawn):
    images, meta = photos
    classes, things = meta['classes'], meta['thing_ids']
    rng = np.random.default_rng(0)
    evaluator = Evaluator({'type': 'PanopticQuality'})
    evaluator.dataset_meta = meta
    totals = [np.zeros(len(classes)) for _ in range(4)]
    for number, (gt_map, segments) in enumerate(images):
        prediction = perturbed(rng, gt_map, segments, len(classes))
        theirs = protocol.statistics(gt_map, segments, *prediction, len(classes))
        totals = [total + part for total, part in zip(totals, theirs)]
        evaluator.process([drawn.make_sample(number, gt_map, segments, {'panoptic': prediction})])
    metrics = evaluator.evaluate(len(images))
    stuff = sorted(set(range(len(classes))) - set(things))
    for suffix, labels in (('', range(len(classes))), ('_th', things), ('_st', stuff)):
        expected = protocol.average(*totals, labels)
        assert tuple(metrics[name + suffix] for name in ('PQ', 'SQ', 'RQ')) == expected
    assert 20 < metrics['PQ'] < 95 and min(total.sum() for total in totals) > 20


def write_ids(path, values):
    cv2.imwrite(str(path), np.stack([values >> 16, values >> 8 & 255, values & 255], -1).astype(np.uint8))


def read_ids(path):
    bgr = cv2.imread(str(path)).astype(np.uint32)
    return bgr[..., 2] + 256 * bgr[..., 1] + 65536 * bgr[..., 0]


def count_through_png(truth_path, prediction_path, pred_map):
    """Overlaps by pair of ids, as the official tool gets them: the prediction becomes a PNG; both are read, sorted."""
    write_ids(prediction_path, pred_map)
    truth, prediction = read_ids(truth_path), read_ids(prediction_path)
    np.unique(prediction, return_counts=True)  # its check that every id is listed, and the areas
    pairs, counts = np.unique(truth.astype(np.uint64) * 2**24 + prediction, return_counts=True)
    return {(int(pair >> 24), int(pair & 0xFFFFFF)): count for pair, count in zip(pairs, counts.tolist())}


@pytest.mark.slow
def test_panoptic_quality__counting_against_pngs_and_sorting(photos, tmp_path, capsys):
    """Prints how many times as fast counting in memory is, on photos and in one run; asserts equal counts only."""
    images, meta = photos
    num_classes = len(meta['classes'])
    rng, seconds = np.random.default_rng(0), np.zeros(2)
    for number, (gt_map, segments) in enumerate(images):
        pred_map, prediction = perturbed(rng, gt_map, segments, num_classes)
        pred_map = pred_map.astype(np.int32)
        write_ids(tmp_path / f'truth{number}.png', gt_map)
        start = time.perf_counter()
        slow = count_through_png(tmp_path / f'truth{number}.png', tmp_path / f'{number}.png', pred_map)
        middle = time.perf_counter()
        pq_statistics(gt_map, segments, pred_map, prediction, num_classes)
        seconds += [middle - start, time.perf_counter() - middle]
        fast = _overlaps(gt_map, len(segments), pred_map, prediction, num_classes)
        ids = [num_classes, *[segment['id'] for segment in prediction]]
        pairs = {(k, ids[j]): int(fast[k, j]) for k, j in zip(*np.nonzero(fast))}
        assert pairs == slow
    slow_ms, fast_ms = 1000 * seconds / len(images)
    with capsys.disabled():
        print(
            f'\n{slow_ms:.2f} ms an image by PNG and sorting, {fast_ms:.2f} ms in memory: {slow_ms / fast_ms:.1f} times'
        )
