"""``report.json``: hand-made cases, and the counts of panoptic quality. As a script: one of two processes."""

import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.dataset import DefaultSampler
from mmengine.evaluator import Evaluator

from mmseg_oneformer.evaluation.ground_truth import PanopticTruth
from mmseg_oneformer.evaluation.panoptic_quality import pq_statistics
from mmseg_oneformer.evaluation.report import image_record, report_config
from mmseg_oneformer.evaluation.report.metric import Worst

K = 5


def gt(label, identity, iscrowd=False):
    return {'id': identity, 'label': label, 'isthing': True, 'iscrowd': iscrowd}


def pred(label, k=1, score=0.5):
    return {'id': label + 1000 * k, 'category_id': label, 'isthing': True, 'score': score}


def rows(*runs):
    """A map of two equal rows from (value, length) runs."""
    return np.tile(np.concatenate([np.full(length, value) for value, length in runs]), (2, 1))


def record_of(gt_map, gt_segments, pred_map, pred_segments):
    return image_record(PanopticTruth(gt_map, gt_segments), pred_map, pred_segments, K)


def test_record__matched_false_missed_with_iou_area_and_box():
    gt_map = rows((1, 8), (2, 4), (3, 4))
    pred_map = rows((1001, 5), (K, 3), (3002, 1), (3001, 3), (K, 4))
    record = record_of(
        gt_map, [gt(1, 70), gt(2, 80), gt(3, 90)], pred_map, [pred(1, score=0.75), pred(2, 3), pred(1, 3)]
    )
    assert (record['height'], record['width'], record['tp'], record['fp'], record['fn']) == (2, 16, 1, 2, 2)
    assert record['quality'] == pytest.approx(100 * 0.625 / (1 + 1 + 1), abs=1e-4)
    matched, false, other, missed, unseen = record['segments']
    assert matched == {
        'outcome': 'tp',
        'class': 1,
        'iou': 0.625,
        'annotated': {'id': 70, 'area': 16, 'box': [0, 0, 8, 2]},
        'predicted': {'id': 1001, 'area': 10, 'box': [0, 0, 5, 2], 'score': 0.75},
        'nearest': None,
    }
    assert (false['outcome'], false['predicted']['id'], false['iou'], false['annotated']) == ('fp', 3002, 0.25, None)
    assert (other['predicted']['id'], other['predicted']['box']) == (3001, [9, 0, 3, 2])
    assert (other['class'], other['iou'], other['nearest']) == (1, 0.75, {'id': 80, 'class': 2})
    assert (missed['outcome'], missed['class'], missed['iou']) == ('fn', 2, 0.75)
    assert missed['nearest'] == {'id': 3001, 'class': 1}
    assert (unseen['annotated'], unseen['iou'], unseen['nearest']) == (
        {'id': 90, 'area': 8, 'box': [12, 0, 4, 2]},
        0.0,
        None,
    )


@pytest.mark.parametrize(
    ('on_void', 'on_crowd', 'outcome'), [(6, 0, 'ignored'), (5, 0, 'fp'), (2, 4, 'ignored'), (0, 6, 'ignored')]
)
def test_record__void_and_crowds_excuse(on_void, on_crowd, outcome):
    gt_map = rows((0, on_void), (1, on_crowd), (2, 10 - on_void - on_crowd), (1, 3))
    record = record_of(gt_map, [gt(1, 7, iscrowd=True), gt(0, 8)], rows((1001, 10), (K, 3)), [pred(1)])
    assert [segment['outcome'] for segment in record['segments']] == [outcome, 'crowd', 'fn']
    assert (record['tp'], record['fp'], record['fn']) == (0, int(outcome == 'fp'), 1)
    assert record['segments'][1]['annotated']['area'] == 2 * (on_crowd + 3)


def test_record__empty_images_have_no_quality():
    record = record_of(rows((0, 4)), [], rows((K, 4)), [])
    assert (record['quality'], record['segments']) == (None, [])
    crowd = record_of(rows((1, 4)), [gt(1, 7, iscrowd=True)], rows((K, 4)), [])
    assert crowd['quality'] is None and crowd['segments'][0]['outcome'] == 'crowd'


def test_record__a_segment_without_a_pixel_is_missed():
    record = record_of(rows((1, 4)), [gt(1, 7), gt(3, 8)], rows((1001, 4)), [pred(1)])
    assert record['segments'][1]['annotated'] == {'id': 8, 'area': 0, 'box': [0, 0, 0, 0]}
    assert (record['tp'], record['fn']) == (1, 1)


def test_record__equals_masks_and_panoptic_quality_on_random_maps(drawn):
    rng, seen = np.random.default_rng(0), set()
    for _ in range(40):
        gt_map, segments = drawn.random_truth(rng, num_segments=int(rng.integers(1, 20)))
        prediction = drawn.disturb(rng, gt_map, segments, noise=float(rng.choice([0.0, 0.2, 0.5])))
        record = record_of(gt_map, segments, *prediction)
        statistics = pq_statistics(gt_map, segments, *prediction, K)
        for outcome, expected in zip(('tp', 'fp', 'fn'), statistics[1:]):
            labels = [segment['class'] for segment in record['segments'] if segment['outcome'] == outcome]
            assert np.bincount(labels, minlength=K).tolist() == expected.tolist()
            assert record[outcome] == len(labels)
        position = {segment['id']: k for k, segment in enumerate(segments, start=1)}
        for segment in record['segments']:
            seen.add(segment['outcome'])
            places = [(gt_map, position, segment['annotated']), (prediction[0], None, segment['predicted'])]
            masks = []
            for ids, table, place in places:
                if place is not None:
                    mask = ids == (table[place['id']] if table else place['id'])
                    masks.append(mask)
                    ys, xs = np.nonzero(mask)
                    box = [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
                    assert (place['area'], place['box']) == (mask.sum(), box)
            if len(masks) == 2:
                union = (masks[0] | masks[1]) & ~(masks[1] & (gt_map == 0))
                assert segment['iou'] == pytest.approx((masks[0] & masks[1]).sum() / union.sum(), abs=1e-6)
        assert len([s for s in record['segments'] if s['annotated']]) == len(segments)
        assert len([s for s in record['segments'] if s['predicted']]) == len(prediction[1])
    assert seen == {'tp', 'fp', 'fn', 'ignored', 'crowd'}


def test_worst__keeps_the_worst_of_each_order_and_the_first_of_equals():
    rng = np.random.default_rng(0)
    values = [tuple(None if v == 0 else float(v) for v in rng.integers(0, 6, 3)) for _ in range(60)]
    worst, kept = Worst(4), set()
    for index, badness in enumerate(values):
        kept.add(index)
        kept -= worst.add(index, badness)
    expected = set()
    for order in range(3):
        wrong = [index for index, badness in enumerate(values) if badness[order] is not None]
        expected |= set(sorted(wrong, key=lambda index: (-values[index][order], index))[:4])
    assert kept == worst.indices() == expected


def test_report_config__rejects_what_it_cannot_show():
    assert report_config('folder', 3, 'name')['num_images'] == 3
    with pytest.raises(ValueError, match='add panoptic to --tasks'):
        report_config('folder', 3, 'name', tasks=['semantic'])
    with pytest.raises(ValueError, match='leave out --token-matrix'):
        report_config('folder', 3, 'name', token_matrix=True)


@pytest.mark.parametrize(('folder', 'number', 'sentence'), [('file', 1, 'is a file'), ('new', -1, 'show -1 images')])
def test_metric__rejects_a_file_and_a_negative_number(tmp_path, folder, number, sentence):
    (tmp_path / 'file').touch()
    with pytest.raises(ValueError, match=sentence):
        Evaluator([{'type': 'SegmentReport', 'folder': str(tmp_path / folder), 'num_images': number}])


def measure(meta, samples, folder):
    report = {'type': 'SegmentReport', 'folder': folder, 'num_images': 2}
    confusion = {'type': 'ConfusionMatrix', 'kind': 'panoptic', 'out': f'{folder}/confusion.json'}
    evaluator = Evaluator([{'type': 'PanopticQuality'}, report, confusion])
    evaluator.dataset_meta = meta
    for index in DefaultSampler(samples, shuffle=False):  # fills up the shorter share with a repeated image
        evaluator.process([samples[index]])
    return evaluator.evaluate(len(samples))


@pytest.fixture
def samples(drawn, photos, tmp_path):
    rng, made = np.random.default_rng(0), []
    for index, image in enumerate(photos[0]):
        predictions = {'panoptic': drawn.disturb(rng, *image, noise=0.1 * (index % 4))}
        made.append(drawn.make_sample(index, *image, predictions).to_dict())
        made[-1]['img_path'] = str(tmp_path / f'photo_{index}.png')
        cv2.imwrite(made[-1]['img_path'], rng.integers(0, 255, (*image[0].shape, 3), dtype=np.uint8))
    return made


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def test_report__is_complete_and_replaces_an_earlier_one(drawn, samples, tmp_path):
    folder = tmp_path / 'report'
    metrics = measure(drawn.META, samples, str(folder))
    assert not [name for name in metrics if not name.startswith(('PQ', 'SQ', 'RQ'))]
    report = json.loads((folder / 'report.json').read_text())
    assert [image['img_id'] for image in report['images']] == list(range(9)) and report['num_images'] == 9
    assert [c['name'] for c in report['classes']] == list(drawn.CLASSES)
    for outcome in ('tp', 'fp', 'fn'):
        assert sum(c[outcome] for c in report['classes']) == sum(image[outcome] for image in report['images']) > 0
    lowest = sorted(report['images'], key=lambda image: image['quality'])[:2]
    page = (folder / 'index.html').read_text()
    assert all(Path(image['file']).name in page for image in lowest)
    first = files_of(folder)
    (folder / 'pictures/0099_photo.jpg').write_bytes(b'of an earlier report')
    (folder / 'pictures/mine.jpg').write_bytes(b"somebody else's")
    measure(drawn.META, samples, str(folder))
    assert files_of(folder) == first | {'pictures/mine.jpg': b"somebody else's"}


def test_report__an_image_keeps_its_maps_only_while_it_is_among_the_worst(drawn, samples, tmp_path):
    evaluator = Evaluator([{'type': 'SegmentReport', 'folder': str(tmp_path / 'report'), 'num_images': 1}])
    evaluator.dataset_meta = drawn.META
    samples.sort(key=lambda sample: sample['img_id'] % 4)  # ever more noise: each takes the place of one before
    evaluator.process(samples)
    (metric,) = evaluator.metrics
    kept = [index for index, entry in enumerate(metric.results) if entry.maps]
    assert 0 not in kept and metric.results[3].badness[0] is not None
    assert kept == sorted(metric.worst.indices()) and 1 <= len(kept) <= 3
    evaluator.evaluate(len(samples))
    assert len(list((tmp_path / 'report/pictures').glob('*_errors.jpg'))) == len(kept)


def test_report__without_a_page(drawn, samples, tmp_path):
    evaluator = Evaluator([{'type': 'SegmentReport', 'folder': str(tmp_path / 'report'), 'num_images': 0}])
    evaluator.dataset_meta = drawn.META
    evaluator.process(samples)
    evaluator.evaluate(len(samples))
    assert list(files_of(tmp_path / 'report')) == ['report.json']


def test_report__a_photo_of_another_size_is_one_sentence(drawn, samples, tmp_path):
    for sample in samples:
        cv2.imwrite(sample['img_path'], np.zeros((7, 9, 3), np.uint8))
    with pytest.raises(ValueError, match=r'is \(7, 9\) pixels and its annotation \(120, 133\); the report needs'):
        measure(drawn.META, samples, str(tmp_path / 'report'))


def test_report__two_processes_write_the_same_files_as_one(drawn, samples, tmp_path, start_ranks):
    assert len(samples) % 2
    measure(drawn.META, samples, str(tmp_path / 'one'))
    (tmp_path / 'samples.pkl').write_bytes(pickle.dumps((drawn.META, samples)))
    start_ranks(__file__)()
    assert files_of(tmp_path / 'two') == files_of(tmp_path / 'one')


if __name__ == '__main__':
    from torch import distributed

    import mmseg_oneformer  # noqa: F401

    distributed.init_process_group('gloo')
    measure(*pickle.loads(Path('samples.pkl').read_bytes()), 'two')
    distributed.destroy_process_group()
