"""Two models side by side: what differs, which boxes are drawn, and the page."""

import json
import re
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData

from mmseg_oneformer.analysis.comparison import Compared, DifferingRegion, Gallery, compare_photo, differences
from mmseg_oneformer.analysis.comparison.measure import best_labels, find_regions, instances_differ
from mmseg_oneformer.analysis.comparison.page import draw_annotation, draw_compared
from mmseg_oneformer.apis import OneFormerInferencer, OneFormerResult
from mmseg_oneformer.evaluation.ground_truth import PanopticTruth
from mmseg_oneformer.evaluation.matching import match_segments
from mmseg_oneformer.visualization.boxes import COLOR, draw_boxes
from mmseg_oneformer.zoo.weights import find_weights

SHIPPED = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
TOOL = 'analysis_tools/compare_models.py'
CLASSES = ('cat', 'dog', 'sky')
META = {'classes': CLASSES, 'thing_ids': (0, 1)}
SIZE = (40, 60)


def square(top, left, height, width):
    mask = np.zeros(SIZE, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def result(segments=(), found=(), semantic=None):
    """A result of panoptic segments (label, mask), instances (label, score, mask) and a class map."""
    sample = DetDataSample()
    ids, table = np.full(SIZE, len(CLASSES), np.int32), []
    for k, (label, mask) in enumerate(segments, start=1):
        ids[mask] = label + 1000 * k
        table.append({'id': label + 1000 * k, 'category_id': label, 'isthing': label < 2, 'score': 0.9})
    sample.pred_panoptic_seg = PixelData(metainfo={'segments_info': table}, sem_seg=torch.from_numpy(ids)[None])
    masks = np.stack([mask for *_, mask in found]) if found else np.zeros((0, *SIZE), bool)
    sample.pred_instances = InstanceData(
        labels=torch.tensor([label for label, *_ in found]),
        scores=torch.tensor([score for _, score, _ in found]),
        bboxes=torch.zeros(len(found), 4),
        masks=torch.from_numpy(masks),
    )
    labels = np.full(SIZE, 2) if semantic is None else semantic
    sample.pred_sem_seg = PixelData(sem_seg=torch.from_numpy(labels.astype(np.int64))[None])
    image = np.full((*SIZE, 3), 90, np.uint8)
    return OneFormerResult(SimpleNamespace(file_name='a/b.jpg', name='b'), image, sample, META)


def test_semantic__pixels_of_another_class():
    labels = np.full(SIZE, 2)
    labels[5:20, 10:30] = 1
    found = differences(result(), result(semantic=labels), 'semantic')
    assert (found.mask == (labels == 1)).all() and found.share == pytest.approx(15 * 20 / 2400)
    assert found.regions == (DifferingRegion((10, 5, 30, 20), pytest.approx(0.125), 'sky', 'dog'),)


def test_panoptic__an_object_is_not_another_of_its_class():
    """Two cats on the one side, one cat over both on the other: only what the larger one keeps is the same."""
    big, left, right = square(10, 10, 20, 30), square(10, 10, 20, 20), square(10, 30, 20, 10)
    found = differences(result([(0, left), (0, right)]), result([(0, big)]), 'panoptic')
    assert (found.mask == right).all()
    assert [region.first for region in found.regions] == ['cat']
    assert not differences(result([(0, big)]), result([(0, big)]), 'panoptic').mask.any()


def test_panoptic__void_and_class():
    mask = square(0, 0, 20, 20)
    found = differences(result([(0, mask)]), result(), 'panoptic')
    assert (found.mask == mask).all() and found.regions[0][2:] == ('cat', 'nothing')
    found = differences(result([(0, mask)]), result([(1, mask)]), 'panoptic')
    assert (found.mask == mask).all() and found.regions[0][2:] == ('cat', 'dog')
    assert not differences(result(), result(), 'panoptic').mask.any()
    left, right = square(0, 0, 40, 25), square(0, 35, 40, 25)  # void is the same where both have it, however little
    found = differences(result([(0, left), (1, square(0, 40, 40, 20))]), result([(1, right)]), 'panoptic')
    assert (found.mask == (left | right) & ~square(0, 40, 40, 20)).all()
    assert (differences(result([(0, ~left)]), result([(1, ~right)]), 'panoptic').mask).all()
    assert (differences(result([(0, left)]), result([(1, right)]), 'panoptic').mask == (left | right)).all()
    assert (differences(result([(0, ~square(0, 0, 40, 30))]), result([(1, left)]), 'panoptic').mask).sum() == 40 * 55


@pytest.mark.parametrize('seed', range(5))
def test_panoptic__pairs_are_those_of_panoptic_quality(seed):
    """Without void, which panoptic quality forgives, its own matching names the same pairs."""
    rng, sides = np.random.default_rng(seed), []
    tiles = np.kron(rng.integers(0, 6, (4, 6)), np.ones((10, 10), int))
    for _ in range(2):
        noisy = np.where(rng.random(SIZE) < 0.2, rng.integers(0, 6, SIZE), tiles)
        sides.append([(k % 3, noisy == k) for k in range(6) if (noisy == k).any()])
    first, second = (result(side) for side in sides)
    gt_map = sum((number * mask for number, (_, mask) in enumerate(sides[0], start=1)), np.zeros(SIZE, int))
    table = [{'id': one.id, 'category_id': one.label} for one in second.panoptic.segments]
    truth = [{'label': label, 'iscrowd': False} for label, _ in sides[0]]
    matching = match_segments(gt_map, truth, second.panoptic.ids, table, 3)
    expected = np.ones(SIZE, bool)
    for g, p in zip(matching.gt_index, matching.pred_index):
        expected &= ~(sides[0][g][1] & sides[1][p][1])
    assert (differences(first, second, 'panoptic').mask == expected).all() and expected.any() and not expected.all()


def test_instances__partners_differ_by_their_outlines_and_others_wholly():
    cat, shifted, dog = square(5, 5, 10, 20), square(5, 7, 10, 20), square(25, 30, 10, 10)
    first = result(found=[(0, 0.9, cat), (1, 0.9, dog), (1, 0.2, square(0, 0, 40, 60))])  # the last is below 0.5
    found = differences(first, result(found=[(0, 0.8, shifted)]), 'instance')
    assert (found.mask == ((cat ^ shifted) | dog)).all()
    assert [region[2:] for region in found.regions] == [('dog', 'nothing')]  # the strips are too thin for a box
    # The best of the one side chooses first.
    assert (instances_differ([(0, cat), (0, shifted)], [(0, cat)], SIZE) == shifted).all()
    assert (best_labels([(0, cat), (1, shifted)], SIZE)[6, 5:27] == [0] * 20 + [1] * 2).all()


def test_regions__the_largest_first_and_no_thin_ones():
    mask = square(0, 0, 40, 1) | square(5, 10, 8, 8) | square(20, 10, 15, 30) | square(5, 40, 3, 15)
    found = find_regions(mask, (np.zeros(SIZE, int), np.full(SIZE, 2)), CLASSES)
    assert [region.box for region in found] == [(10, 20, 40, 35), (10, 5, 18, 13)]
    assert [region[2:] for region in found] == [('cat', 'sky')] * 2


def test_compare_photo__quality_where_the_truth_is_known():
    cat = square(10, 10, 20, 30)
    right, wrong = result([(0, cat), (2, ~cat)], semantic=np.where(cat, 0, 2)), result([(1, cat), (2, ~cat)])
    truth = right.sample.clone()
    truth.gt_panoptic_seg = PixelData(sem_seg=torch.from_numpy(np.where(cat, 1, 2))[None])
    table = [{'id': 5, 'label': 0, 'isthing': True, 'iscrowd': False}]
    truth.set_metainfo({'segments_info': [*table, {'id': 6, 'label': 2, 'isthing': False, 'iscrowd': False}]})
    semantic, instance, panoptic = compare_photo((right, wrong), ('semantic', 'instance', 'panoptic'), truth)
    assert semantic.qualities == (100, 75) and instance.qualities == (None, None)
    assert panoptic.qualities == (100, 50)  # of three segments, sky matched: 1 / (1 + 0.5 + 0.5)
    assert compare_photo((right, wrong), ('panoptic',))[0].qualities is None


def test_draw_compared__each_prediction_under_its_name(monkeypatch):
    monkeypatch.setattr('mmseg_oneformer.analysis.comparison.page.panel', lambda pictures, height: pictures)
    labels = np.full(SIZE, 2)
    labels[5:20, 10:30] = 1
    first, second = result(), result(semantic=labels)
    first.image[:] = (200, 100, 0)
    (compared,) = compare_photo((first, second), ('semantic',))
    pictures = draw_compared((first, second), ('one', 'two'), compared)
    assert list(pictures) == ['photo', 'one', 'two']
    assert pictures['photo'][-1, -1].tolist() == [0, 100, 200]
    for name, prediction in (('one', first), ('two', second)):
        expected = draw_boxes(prediction.plot('semantic'), [(10, 5, 30, 20)], SIZE)
        assert (pictures[name] == expected).all()
    assert (pictures['one'] != pictures['two']).any()


def test_draw_annotation__a_crowd_is_no_instance():
    photo, cat = np.full((*SIZE, 3), 90, np.uint8), square(10, 10, 20, 30)
    pictures = []
    for is_crowd in (True, False):
        truth = PanopticTruth(cat.astype(np.int64), [{'label': 0, 'isthing': True, 'iscrowd': is_crowd}])
        pictures.append(draw_annotation(photo, truth, 'instance', META))
    assert np.ptp(pictures[0]) == 0 < np.ptp(pictures[1])


def test_boxes__around_the_place_in_an_enlarged_picture():
    picture = draw_boxes(np.zeros((480, 540, 3), np.uint8), [(20, 10, 40, 30)], (40, 60))
    rows, columns = np.nonzero((picture == COLOR).all(-1))
    assert abs(rows.min() - 120) < 8 and abs(rows.max() - 360) < 8
    assert abs(columns.min() - 180) < 8 and abs(columns.max() - 360) < 8
    assert (picture[200:340, 240:340] == 0).all()


def test_gallery__keeps_the_most_different(tmp_path):
    gallery, drawn = Gallery(('<one>', 'two'), most=2), []

    def draw(one):
        drawn.append(one)
        return np.full((20, 30, 3), 7, np.uint8)

    region = DifferingRegion((0, 0, 9, 9), 0.1, '<b>cat</b>', 'dog')
    for share in (0.1, 0.3, 0.05, 0.2, 0.2):
        gallery.add(f'<{share}>.jpg', [Compared('panoptic', share, (region,), (50.0, None))], draw)
    page = gallery.write(tmp_path).read_text()
    assert len(drawn) == 3  # 0.1, 0.3 and the first 0.2; the others are not among the two at that time
    assert sorted(path.name for path in (tmp_path / 'pictures').iterdir()) == ['0001_panoptic.jpg', '0002_panoptic.jpg']
    assert re.findall(r'<h2>(.*?)</h2>', page) == ['&lt;0.3&gt;.jpg', '&lt;0.2&gt;.jpg']
    assert '<b>' not in page and '<one>' not in page and '&lt;b&gt;cat' in page
    content = json.loads((tmp_path / 'comparison.json').read_text())
    assert [photo['share'] for photo in content['photos']] == [0.3, 0.2, 0.2, 0.1, 0.05]
    assert content['tasks']['panoptic'] == {'share': pytest.approx(0.17), 'qualities': [50.0, None]}
    again = Gallery(('one', 'two'), most=2)
    again.add('x.jpg', [Compared('semantic', 0.5, (), None)], draw)
    again.write(tmp_path)
    assert [path.name for path in (tmp_path / 'pictures').iterdir()] == ['0001_semantic.jpg']


@pytest.fixture(scope='module')
def other_weights(tmp_path_factory):
    """The shipped weights, but worse: its classes are moved by one."""
    model = OneFormerInferencer(SHIPPED, device='cpu').model
    state = {key: value.clone() for key, value in model.state_dict().items()}
    for key in ('head.decoder.class_embed.weight', 'head.decoder.class_embed.bias'):
        state[key][3:7] = state[key][3:7].roll(1, 0)
    path = tmp_path_factory.mktemp('worse') / 'worse.pth'
    torch.save({'state_dict': state, 'meta': {}}, path)
    return path


def test_tool__with_truth(call_tool, shapes, other_weights, tmp_path, capsys):
    arguments = ('--weights', find_weights(SHIPPED), other_weights, '--data', SHIPPED, '--num', 3, '--shown', 2)
    options = ('--cfg-options', f'test_dataloader.dataset.data_root={shapes.folder}/', '--device', 'cpu')
    assert call_tool(TOOL, SHIPPED, SHIPPED, *arguments, *options, '--out-dir', 'out') == 0
    printed = capsys.readouterr().out
    assert 'worse' in printed and 'out/index.html: 3 photos' in printed
    content = json.loads((tmp_path / 'out/comparison.json').read_text())
    good, bad = content['tasks']['panoptic']['qualities']
    assert good > bad + 20 and len(content['photos']) == 3 and content['models'][1] == 'worse'
    assert {region['first'] for photo in content['photos'] for region in photo['panoptic']['regions']}
    picture = cv2.imread(str(tmp_path / 'out/pictures/0001_panoptic.jpg'))
    assert picture.shape[1] > 3.5 * 400  # photo, annotation and two predictions


def test_tool__photos_and_one_model_twice(call_tool, shapes, tmp_path, capsys):
    assert call_tool(TOOL, SHIPPED, SHIPPED, '--photos', shapes.folder / 'val', '--tasks', 'panoptic') == 0
    content = json.loads((tmp_path / 'work_dirs/compared/comparison.json').read_text())
    assert content['tasks']['panoptic'] == {'share': 0, 'qualities': None} and len(content['photos']) == 4
    assert 'panoptic                0.0%' in capsys.readouterr().out  # no columns of qualities without annotations


def test_tool__other_classes(call_tool, shapes, tmp_path, capsys, monkeypatch):
    original = OneFormerInferencer.__init__

    def renamed(self, model, weights=None, device=None):
        original(self, model, weights, device)
        self.dataset_meta = {**self.dataset_meta, 'classes': (str(id(self)),)}

    monkeypatch.setattr(OneFormerInferencer, '__init__', renamed)
    assert call_tool(TOOL, SHIPPED, SHIPPED, '--photos', shapes.photos[0], '--out-dir', 'out') == 2
    error = capsys.readouterr().err
    assert 'give two models of the same classes' in error and not (tmp_path / 'out').exists()
