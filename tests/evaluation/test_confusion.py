"""Confusion of pixels and segments: hand-made cases, a naive count, and the tool on a model and saved predictions."""

import json
import re

import cv2
import numpy as np
import pytest
from mmengine.evaluator import Evaluator
from mmengine.structures import BaseDataElement

from mmseg_oneformer.errors import UserError
from mmseg_oneformer.evaluation.confusion import (
    keep_classes,
    most_confused,
    pixel_confusion,
    sample_confusion,
    segment_confusion,
)
from mmseg_oneformer.evaluation.ground_truth import PanopticTruth
from mmseg_oneformer.evaluation.panoptic_quality import pq_statistics
from mmseg_oneformer.evaluation.saved_predictions import SavedPredictions
from mmseg_oneformer.visualization.matrix import normalized, save_matrix

K = 5
QUICKSTART = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'


def row(*runs):
    """A map of one row from (value, length) runs."""
    return np.concatenate([np.full(length, value) for value, length in runs])[None]


def gt(label, iscrowd=False):
    return {'id': label + 50, 'label': label, 'isthing': True, 'iscrowd': iscrowd}


def pred(label, k=1):
    return {'id': label + 1000 * k, 'category_id': label}


def entries(matrix):
    return {(int(i), int(j)): int(matrix[i, j]) for i, j in np.argwhere(matrix)}


def test_pixels__classes_and_void():
    matrix = pixel_confusion(row((0, 3), (1, 2), (255, 4)), row((0, 1), (2, 3), (1, 4), (255, 1)), K)
    assert entries(matrix) == {(0, 0): 1, (0, 2): 2, (1, 2): 1, (1, 1): 1, (K, 1): 3, (K, K): 1}
    assert entries(pixel_confusion(row((-1, 2), (K + 1, 1)), row((K, 2), (4, 1)), K)) == {(K, K): 2, (K, 4): 1}
    with pytest.raises(ValueError, match=r'is \(1, 2\) and the annotation \(1, 3\)'):
        pixel_confusion(row((0, 3)), row((0, 2)), K)


def test_pixels__equal_a_naive_count():
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(0, K + 1, (2, 9, 13))
    naive = np.zeros((K + 1, K + 1), int)
    for annotated, predicted in zip(truth.ravel(), prediction.ravel()):
        naive[annotated, predicted] += 1
    assert (pixel_confusion(truth, prediction, K) == naive).all()


def test_segments__found_confused_missed_and_made_up():
    truth = PanopticTruth(row((1, 10), (2, 10), (3, 10), (4, 10)), [gt(0), gt(1), gt(2), gt(2)])
    prediction = row((1000, 8), (K, 2), (1003, 9), (K, 11), (1002, 4), (1004, 6))
    matrix = segment_confusion(truth, prediction, [pred(0), pred(3), pred(2), pred(4)], K)
    # The last annotated segment shares 0.6 of its pixels with a wrong class, which leaves the 0.4 made up.
    assert entries(matrix) == {(0, 0): 1, (1, 3): 1, (2, K): 1, (2, 4): 1, (K, 2): 1}


def test_segments__void_and_crowds():
    crowd, void = PanopticTruth(row((1, 10)), [gt(1, True)]), PanopticTruth(row((0, 10)), [])
    assert not segment_confusion(crowd, row((1001, 10)), [pred(1)], K).any()
    assert entries(segment_confusion(crowd, row((1002, 10)), [pred(2)], K)) == {(K, 2): 1}
    assert not segment_confusion(void, row((1002, 10)), [pred(2)], K).any()
    # What lies on void is in no union: a pair all the same, though panoptic quality excuses the prediction.
    half = PanopticTruth(row((0, 6), (1, 4)), [gt(1)])
    assert entries(segment_confusion(half, row((1002, 10)), [pred(2)], K)) == {(1, 2): 1}


def test_segments__sums_are_those_of_panoptic_quality(drawn):
    rng, beside = np.random.default_rng(0), 0
    for _ in range(120):
        gt_map, segments = drawn.random_truth(rng, num_segments=int(rng.integers(1, 20)), void=False)
        prediction = drawn.disturb(rng, gt_map, segments, noise=float(rng.choice([0.0, 0.2, 0.4])))
        matrix = segment_confusion(PanopticTruth(gt_map, segments), *prediction, K)
        _, tp, fp, fn = pq_statistics(gt_map, segments, *prediction, K)
        assert matrix.diagonal()[:K].tolist() == tp.tolist()
        assert (matrix.sum(axis=1)[:K] - tp).tolist() == fn.tolist()
        assert (matrix.sum(axis=0)[:K] - tp).tolist() == fp.tolist()
        beside += matrix[:K, :K].sum() - tp.sum()
    assert beside > 20  # there were pairs of two classes


def test_sample__says_what_is_missing(drawn):
    image = drawn.random_truth(np.random.default_rng(0))
    sample = drawn.make_sample(0, *image, {'semantic': np.zeros((24, 31), int)}).to_dict()
    with pytest.raises(ValueError, match=r'photo_0\.jpg has no panoptic prediction'):
        sample_confusion(sample, 'panoptic', K)
    sample.pop('gt_sem_seg')
    with pytest.raises(ValueError, match=r'photo_0\.jpg has no annotation'):
        sample_confusion(sample, 'semantic', K)
    with pytest.raises(ValueError, match="kind is 'instance'"):
        Evaluator([{'type': 'ConfusionMatrix', 'kind': 'instance', 'out': 'file.json'}])


def test_metric__adds_up_images(drawn, tmp_path):
    rng, out = np.random.default_rng(0), tmp_path / 'deep/confusion.json'
    evaluator = Evaluator([{'type': 'ConfusionMatrix', 'kind': 'panoptic', 'out': str(out)}])
    evaluator.dataset_meta = drawn.META
    expected = np.zeros((K + 1, K + 1), int)
    for index in range(3):
        image = drawn.random_truth(rng)
        prediction = drawn.disturb(rng, *image)
        expected += segment_confusion(PanopticTruth(*image), *prediction, K)
        evaluator.process([drawn.make_sample(index, *image, {'panoptic': prediction}).to_dict()])
    assert evaluator.evaluate(3) == {}
    content = json.loads(out.read_text())
    assert (content['kind'], content['num_images']) == ('panoptic', 3)
    assert content['classes'] == [*drawn.CLASSES, 'no segment']
    assert content['matrix'] == expected.tolist()


MATRIX = np.array([[8, 2, 0, 0], [0, 0, 0, 0], [3, 1, 4, 2], [0, 5, 0, 0]])
NAMES = ['a', 'b', 'c', 'void']


def test_most_confused__largest_beside_the_diagonal():
    assert most_confused(MATRIX, NAMES, 3) == [('void', 'b', 5, 1.0), ('c', 'a', 3, 0.3), ('a', 'b', 2, 0.2)]
    assert len(most_confused(MATRIX, NAMES, 99)) == 5


def test_keep_classes__the_others_are_one():
    kept, names = keep_classes(MATRIX, NAMES, ['c'])
    assert names == ['c', 'others', 'void']
    assert kept.tolist() == [[4, 4, 2], [0, 10, 0], [0, 5, 0]]
    with pytest.raises(ValueError, match="no class 'void'; the classes are a, b, c"):
        keep_classes(MATRIX, NAMES, ['void'])


def test_normalized__rows_and_columns():
    by_truth, by_prediction = normalized(MATRIX, 'truth'), normalized(MATRIX, 'prediction')
    assert by_truth[2].tolist() == [30, 10, 40, 20] and np.isnan(by_truth[1]).all()
    assert by_prediction[:, 1] == pytest.approx([25, 0, 12.5, 62.5])
    assert (normalized(MATRIX, 'none') == MATRIX).all()


def test_picture__cells_are_as_dark_as_their_values(tmp_path):
    path = tmp_path / 'matrix.png'
    save_matrix(path, np.array([[99, 1, 0], [0, 50, 50], [0, 0, 0]]), ['a', 'b', 'void'])
    picture = cv2.imread(str(path))[..., ::-1].astype(int)
    dark = np.abs(picture - (8, 48, 107)).max(axis=2) < 12  # the end of "Blues": 100 %
    ys, xs = np.nonzero(dark[:, : picture.shape[1] * 3 // 4])
    assert ys.max() < picture.shape[0] / 2 and xs.max() < picture.shape[1] / 2  # only the cell of a
    with pytest.raises(ValueError, match="normalize is 'rows'"):
        save_matrix(path, MATRIX, NAMES, normalize='rows')
    with pytest.raises(ValueError, match="no colour map 'seasick'"):
        save_matrix(path, MATRIX, NAMES, color_theme='seasick')


def test_tool__saved_predictions_count_as_the_model_does(call_tool, tmp_path, capsys):
    assert call_tool('dataset_converters/make_shapes.py', '--out', 'data/shapes', '--train', 1, '--val', 5) == 0
    options = ('--cfg-options', 'test_dataloader.num_workers=0', 'test_dataloader.persistent_workers=False')
    options = (*options, 'test_dataloader.batch_size=1')
    tool = 'analysis_tools/confusion_matrix.py'
    assert call_tool(tool, QUICKSTART, '--out-dir', 'direct', '--classes', 'box', 'ball', *options) == 0
    assert 'semantic: annotated' in capsys.readouterr().out
    flags = ('--model', QUICKSTART, '--out-dir', 'predictions', '--tasks', 'semantic', 'panoptic')
    assert call_tool('infer.py', 'data/shapes/val', *flags) == 0
    assert call_tool(tool, QUICKSTART, '--predictions', 'predictions', '--out-dir', 'saved') == 0
    for kind, last in (('semantic', 'void'), ('panoptic', 'no segment')):
        direct, saved = (
            json.loads((tmp_path / folder / f'confusion_{kind}.json').read_text()) for folder in ('direct', 'saved')
        )
        assert direct == saved
        assert (direct['num_images'], direct['classes'][-1]) == (5, last)
        matrix = np.array(direct['matrix'])
        assert matrix.trace() > 0.8 * matrix.sum()
        if kind == 'semantic':
            assert matrix.sum() == 5 * 96 * 96
        assert cv2.imread(str(tmp_path / f'saved/confusion_{kind}.png')).std() > 10
    assert call_tool(tool, QUICKSTART, 'weights.pth', '--predictions', 'predictions') == 2
    assert 'not both' in capsys.readouterr().err
    (tmp_path / 'predictions/000002_semantic.png').unlink()
    assert call_tool(tool, QUICKSTART, '--predictions', 'predictions') == 2
    assert '000002_semantic.png; predict all photos' in capsys.readouterr().err


def test_saved_predictions__faults_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='There is no folder'):
        SavedPredictions(tmp_path / 'absent', NAMES)
    content = {'images': [], 'annotations': [], 'categories': [{'id': 4, 'name': 'unicorn'}]}
    (tmp_path / 'panoptic.json').write_text(json.dumps(content))
    with pytest.raises(ValueError, match="has the category 'unicorn', which the config does not have"):
        SavedPredictions(tmp_path, NAMES)
    content = {
        'images': [{'id': 1, 'file_name': 'photo.jpg'}],
        'annotations': [{'image_id': 1, 'file_name': 'photo.png', 'segments_info': [{'id': 3, 'category_id': 9}]}],
        'categories': [{'id': 9, 'name': 'c'}],
    }
    (tmp_path / 'panoptic.json').write_text(json.dumps(content))
    bgr = np.zeros((1, 4, 3), np.uint8)
    bgr[0, 1:, 2] = 3, 3, 5  # ids 0, 3, 3, 5
    cv2.imwrite(str(tmp_path / 'photo.png'), bgr)
    predictions = SavedPredictions(tmp_path, NAMES)
    with pytest.raises(ValueError, match=r'photo.png has pixels of segment 5, which panoptic.json does not list'):
        predictions._panoptic('photo')
    bgr[0, 3] = 0
    cv2.imwrite(str(tmp_path / 'photo.png'), bgr)
    prediction = predictions._panoptic('photo')
    assert prediction.sem_seg.tolist() == [[[4, 5, 5, 4]]]  # void is K = 4, ids begin behind it
    assert prediction.segments_info == [{'id': 5, 'category_id': 2}]
    with pytest.raises(ValueError, match='has no prediction for other'):
        predictions._panoptic('other')


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        (lambda content: content.pop('images'), 'is not a COCO panoptic JSON'),
        (lambda content: content['images'].append(3), 'image number 2 is 3 instead of an object'),
        (lambda content: content['images'][0].pop('file_name'), 'image 1 has no "file_name"'),
        (lambda content: content['annotations'][0].update(segments_info=None), 'has a "segments_info" that is None'),
        (lambda content: content['annotations'][0].update(image_id=2), 'annotation of image 2 is of an image'),
        (lambda content: content['annotations'][0]['segments_info'][0].update(category_id=3), 'has category 3'),
        (lambda content: content['annotations'][0].update(file_name='../photo.png'), 'leads out of its folder'),
    ],
)
def test_saved_predictions__a_damaged_json_is_one_sentence(tmp_path, change, sentence):
    content = {
        'images': [{'id': 1, 'file_name': 'photo.jpg'}],
        'annotations': [{'image_id': 1, 'file_name': 'photo.png', 'segments_info': [{'id': 3, 'category_id': 9}]}],
        'categories': [{'id': 9, 'name': 'c'}],
    }
    change(content)
    (tmp_path / 'panoptic.json').write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf'(?s)panoptic\.json.*{re.escape(sentence)}'):
        SavedPredictions(tmp_path, NAMES)


def test_saved_predictions__damaged_pngs_are_one_sentence(tmp_path):
    for data in (b'', b'\xff', cv2.imencode('.png', np.zeros((4, 4, 3), np.uint8))[1].tobytes()[:-30]):
        (tmp_path / 'photo_semantic.png').write_bytes(data)
        with pytest.raises(UserError, match=r'photo_semantic\.png'):
            SavedPredictions(tmp_path, NAMES).add_to(BaseDataElement(metainfo={'img_path': 'photo.jpg'}), ['semantic'])
