"""Cityscapes' instance protocol against its own script, fed with files as the script wants them, and by hand."""

import math

import cv2
import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from pycocotools import mask as mask_api

from mmseg_oneformer.datasets.benchmarks import CITYSCAPES, CITYSCAPES_LABEL_IDS
from mmseg_oneformer.evaluation.cityscapes_ap import instance_overlaps, read_instance_ids

META = CITYSCAPES
THINGS = META['thing_ids']
CAR, PERSON, BUS = (META['classes'].index(name) for name in ('car', 'person', 'bus'))


def write_files(folder, images, predictions):
    """The ground truth and the predictions as the official script reads them."""
    truth, predicted = [], []
    for number, (ids, (labels, scores, masks)) in enumerate(zip(images, predictions)):
        stem = f'bonn_{number:06d}_000019'
        truth.append(str(folder / f'{stem}_gtFine_instanceIds.png'))
        cv2.imwrite(truth[-1], ids)
        lines = []
        for place, (label, score, mask) in enumerate(zip(labels, scores, masks)):
            cv2.imwrite(str(folder / f'{stem}_{place}.png'), mask.astype(np.uint8) * 255)
            lines.append(f'{stem}_{place}.png {CITYSCAPES_LABEL_IDS[label]} {score!r}\n')
        predicted.append(str(folder / f'{stem}_pred.txt'))
        (folder / f'{stem}_pred.txt').write_text(''.join(lines))
    return truth, predicted


def official(truth, predicted, folder, monkeypatch):
    script = pytest.importorskip(
        'cityscapesscripts.evaluation.evalInstanceLevelSemanticLabeling', reason='pip install cityscapesScripts'
    )
    monkeypatch.setattr(np, 'in1d', np.isin, raising=False)  # gone in numpy 2.4
    for key, value in dict(quiet=True, predictionPath=str(folder), gtInstancesFile=str(folder / 'none.json')).items():
        monkeypatch.setattr(script.args, key, value)
    script.setInstanceLabels(script.args)
    instances = script.getGtInstances(truth, script.args)
    matches = script.matchGtWithPreds(predicted, truth, instances, script.args)
    return script.computeAverages(script.evaluateMatches(matches, script.args), script.args)


def measure(truth, predictions, run_lengths=False, meta=META):
    evaluator = Evaluator({'type': 'CityscapesAP'})
    evaluator.dataset_meta = meta
    for path, (labels, scores, masks) in zip(truth, predictions):
        codes = [mask_api.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks]
        instances = {
            'labels': torch.tensor(labels, dtype=torch.int64),
            'scores': torch.tensor(scores, dtype=torch.float32),
            'masks': codes if run_lengths else torch.from_numpy(np.stack(masks) if masks else np.zeros((0, 96, 120))),
        }
        sample = {'img_path': f'{path}.photo', 'instance_ids_path': path, 'pred_instances': instances}
        evaluator.metrics[0].process(None, [sample])
    return evaluator.evaluate(len(truth)), evaluator.metrics[0].class_values


@pytest.fixture
def drawn_city(drawn, tmp_path):
    rng = np.random.default_rng(0)
    images = [drawn.draw_ids(rng) for _ in range(9)]
    predictions = [drawn.guess_city(rng, ids) for ids in images]
    predictions[4] = ([], [], [])
    return *write_files(tmp_path, images, predictions), predictions, tmp_path


def test_cityscapes_ap__equals_the_official_script(drawn_city, monkeypatch):
    truth, predicted, predictions, folder = drawn_city
    metrics, of_class = measure(truth, predictions)
    expected = official(truth, predicted, folder, monkeypatch)
    assert metrics == {'AP': 100 * expected['allAp'], 'AP50': 100 * expected['allAp50%']}
    assert 5 < metrics['AP'] < metrics['AP50'] < 95
    for label in THINGS:
        official_class = expected['classes'][META['classes'][label]]
        pair = [100 * official_class['ap'], 100 * official_class['ap50%']]
        assert [of_class['AP'][label], of_class['AP50'][label]] == pytest.approx(pair, abs=1e-12, nan_ok=True)
    assert math.isnan(of_class['AP'][META['classes'].index('train')])  # none is annotated
    assert measure(truth, predictions, run_lengths=True)[0] == metrics


@pytest.mark.slow
@pytest.mark.parametrize('seed', range(1, 9))
def test_cityscapes_ap__equals_the_official_script_on_more(drawn, seed, tmp_path, monkeypatch):
    rng = np.random.default_rng(seed)
    images = [drawn.draw_ids(rng) for _ in range(12)]
    predictions = [drawn.guess_city(rng, ids, count=seed) for ids in images]
    truth, predicted = write_files(tmp_path, images, predictions)
    expected = official(truth, predicted, tmp_path, monkeypatch)
    assert measure(truth, predictions)[0] == {'AP': 100 * expected['allAp'], 'AP50': 100 * expected['allAp50%']}


def one_image(tmp_path, ids, *predictions):
    path = tmp_path / 'one_instanceIds.png'
    cv2.imwrite(str(path), ids)
    labels, scores, masks = zip(*predictions) if predictions else ((), (), ())
    return measure([str(path)], [(list(labels), list(scores), list(masks))])[0]


def row(*runs):
    """A map of 20 rows, each of (value, width) runs."""
    return np.tile(np.concatenate([np.full(width, value, np.uint16) for value, width in runs]), (20, 1))


def test_cityscapes_ap__a_double_is_wrong_and_the_better_one_right(tmp_path):
    ids = row((26001, 10), (7, 10))
    predictions = [(CAR, 0.9, ids == 26001), (CAR, 0.5, ids == 26001)]
    # Points: (precision 1/2, recall 1), (1, 1) and (1, 0); widths 0, 1/2 and 1/2.
    assert one_image(tmp_path, ids, *predictions)['AP'] == pytest.approx(100)
    other = np.zeros_like(ids, bool)
    other[:, 10:] = True
    # The better one is wrong: points (1/2, 1), (0, 0) and (1, 0); widths 1/2, 1/2 and 0.
    assert one_image(tmp_path, ids, (CAR, 0.5, ids == 26001), (CAR, 0.9, other))['AP'] == pytest.approx(25)


def test_cityscapes_ap__groups_small_objects_and_void_are_ignored(tmp_path):
    ids = row((26001, 10), (26, 10), (26002, 4), (1, 10), (7, 10))
    found = [(CAR, 0.5, ids == 26001)]
    for value in (26, 26002, 1):
        metrics = one_image(tmp_path, ids, *found, (CAR, 0.9, ids == value))
        assert metrics == pytest.approx({'AP': 100, 'AP50': 100})
    assert one_image(tmp_path, ids, *found, (CAR, 0.9, ids == 7))['AP'] < 50
    # Two thirds on void: no error up to the threshold of 0.65.
    two_thirds = (ids == 1) | ((ids == 7) & (np.cumsum(ids == 7, axis=1) <= 5))
    metrics = one_image(tmp_path, ids, *found, (CAR, 0.9, two_thirds))
    assert metrics['AP50'] == pytest.approx(100) and metrics['AP'] == pytest.approx((4 * 100 + 6 * 25) / 10)


def test_cityscapes_ap__numbered_objects_of_ignored_classes_excuse_nothing(tmp_path):
    ids = row((26001, 10), (29001, 10))
    assert one_image(tmp_path, ids, (CAR, 0.5, ids == 26001), (CAR, 0.9, ids == 29001))['AP'] == pytest.approx(25)


def test_cityscapes_ap__nothing_to_find_is_nan_and_nothing_found_is_0(tmp_path):
    ids = row((26001, 10), (26, 10))
    assert one_image(tmp_path, ids) == {'AP': 0, 'AP50': 0}
    assert one_image(tmp_path, ids, (CAR, 0.9, ids == 26)) == {'AP': 0, 'AP50': 0}  # the script has no answer to this
    assert math.isnan(one_image(tmp_path, row((7, 10), (26, 10)), (BUS, 0.5, row((7, 10), (26, 10)) == 7))['AP'])


def test_instance_overlaps__empty_masks_are_left_out():
    ids = row((24001, 10), (0, 10))
    masks = torch.from_numpy(np.stack([ids == 24001, ids < 0, ids >= 0]))
    predictions = {'labels': torch.tensor([PERSON] * 3), 'scores': torch.tensor([0.5, 0.6, 0.75]), 'masks': masks}
    found = instance_overlaps(ids, predictions, THINGS)
    assert found.score.tolist() == [0.5, 0.75] and found.on_void.tolist() == [0, 200]
    assert found.shared.tolist() == [[200], [200]] and found.truth_area.tolist() == [200]


def test_cityscapes_ap__mistakes_are_named(tmp_path, drawn):
    path = tmp_path / 'a_instanceIds.png'
    cv2.imwrite(str(path), row((24001, 10)))
    wrong_size = ([PERSON], [0.5], [np.ones((20, 11), bool)])
    with pytest.raises(ValueError, match=r'instanceIds.png.photo: an instance mask is \(20, 11\)'):
        measure([str(path)], [wrong_size])
    with pytest.raises(ValueError, match='knows the 19 classes of Cityscapes, not these 5'):
        measure([str(path)], [wrong_size], meta=drawn.META)
    evaluator = Evaluator({'type': 'CityscapesAP'})
    evaluator.dataset_meta = META
    with pytest.raises(ValueError, match=r'x.jpg comes without the path of its instanceIds; set data_prefix.instance'):
        evaluator.metrics[0].process(None, [{'img_path': 'x.jpg'}])
    with pytest.raises(ValueError, match=r'absent\.png is missing or no PNG'):
        read_instance_ids(str(tmp_path / 'absent.png'))
    cv2.imwrite(str(path), np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match='16 bits'):
        read_instance_ids(str(path))
