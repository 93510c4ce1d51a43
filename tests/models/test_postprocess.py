import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import BaseDataElement

from benchmarks.peers.plain_postprocess import plain_instances, plain_panoptic_segments, plain_semantic_scores
from benchmarks.planted import planted_logits
from mmseg_oneformer.models.postprocess import (
    ImageSize,
    PostProcessor,
    instances,
    panoptic_segments,
    resize_masks,
    semantic,
    semantic_map,
    semantic_scores,
    tight_boxes,
    tiles,
)

GOLDEN = json.loads((Path(__file__).parents[1] / 'data/golden.json').read_text())
SIZES = [
    ImageSize((64, 96), (64, 96), (64, 96)),
    ImageSize((64, 96), (61, 77), (131, 45)),
    ImageSize((96, 64), (95, 50), (23, 17)),
    ImageSize((32, 32), (3, 32), (1, 11)),
    ImageSize((64, 64), (64, 43), (640, 427)),
]


def same_size(height, width):
    return ImageSize((height, width), (height, width), (height, width))


def random_logits(seed, num_queries=24, num_classes=5, size=SIZES[0]):
    """Smooth masks and sure classes, so that segments appear, overlap and lose."""
    rng = torch.Generator().manual_seed(seed)
    low = (size.padded[0] // 4, size.padded[1] // 4)
    coarse = torch.randn(num_queries, 1, 4, 4, generator=rng) * 4 - 3
    masks = F.interpolate(coarse, size=low, mode='bicubic', align_corners=False)[:, 0]
    masks = masks + torch.randn(num_queries, *low, generator=rng) * 0.3
    return torch.randn(num_queries, num_classes + 1, generator=rng) * 4, masks


def golden_case():
    case = GOLDEN['post_processing']
    return torch.tensor(case['class_probs_incl_no_object']).log(), torch.tensor(case['mask_logits']), same_size(5, 6)


def test_resize_masks__golden():
    size = ImageSize((8, 8), (6, 7), (5, 4))
    masks = resize_masks(torch.tensor([GOLDEN['upsampling']['mask_logits']]), size)
    torch.testing.assert_close(masks[0], torch.tensor(GOLDEN['upsampling']['result_5x4']), rtol=0, atol=1e-6)


def test_semantic_map__golden():
    labels = semantic_map(*golden_case())
    assert labels.dtype == torch.int64
    assert labels.tolist() == GOLDEN['post_processing']['semantic_argmax']


def test_instances__golden():
    expected = GOLDEN['post_processing']['instance_sorted']
    found = instances(*golden_case(), thing_ids=(0, 1), max_per_image=8)
    assert found.labels.tolist() == expected['classes']
    assert found.masks.sum((1, 2)).tolist() == expected['mask_areas']
    torch.testing.assert_close(found.scores, torch.tensor(expected['scores']), rtol=0, atol=1e-6)
    assert found.bboxes[:3].tolist() == [[4, 0, 6, 2], [0, 0, 3, 3], [0, 0, 4, 3]]


def test_instances__golden_all_things():
    expected = GOLDEN['post_processing']['instance_without_panoptic_on_sorted']
    found = instances(*golden_case(), thing_ids=(0, 1, 2, 3), max_per_image=8)
    assert found.labels.tolist() == expected['classes']
    assert found.masks.sum((1, 2)).tolist() == expected['mask_areas']
    torch.testing.assert_close(found.scores, torch.tensor(expected['scores']), rtol=0, atol=1e-6)


def test_panoptic_segments__golden():
    ids, segments = panoptic_segments(*golden_case(), thing_ids=(0, 1), object_mask_thr=0.8, overlap_thr=0.8)
    expected = GOLDEN['post_processing']
    assert [(s['category_id'], s['isthing']) for s in segments] == [
        (s['category_id'], s['isthing']) for s in expected['segments']
    ]
    assert [s['id'] for s in segments] == [1000, 1002, 1001]
    exported = {4: 0} | {s['id']: e['id'] for s, e in zip(segments, expected['segments'])}
    assert [[exported[value] for value in row] for row in ids.tolist()] == expected['panoptic_map']
    assert ids.dtype == torch.int32


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('working_elements', [1, 5000, 2**23])
def test_plain_form__equal(size, working_elements, monkeypatch):
    monkeypatch.setattr(tiles, 'WORKING_ELEMENTS', working_elements)
    monkeypatch.setattr(semantic, 'STRIP_ELEMENTS', working_elements)
    num_segments = 0
    for seed in range(4):
        logits = random_logits(seed, size=size)
        scores = plain_semantic_scores(*logits, size)
        assert torch.equal(semantic_map(*logits, size), scores.argmax(0))
        strips = torch.cat([strip for _, strip in semantic_scores(*logits, size)], 1)
        torch.testing.assert_close(strips, scores, rtol=1e-5, atol=1e-5)

        found = instances(*logits, size, (0, 3), 40)
        plain = plain_instances(*logits, size, (0, 3), 40)
        assert all(torch.equal(found[key], plain[key]) for key in ('labels', 'bboxes', 'masks'))
        torch.testing.assert_close(found.scores, plain.scores, rtol=1e-6, atol=1e-6)

        ids, segments = panoptic_segments(*logits, size, (0, 3), 0.5, 0.6)
        plain_ids, plain_segments = plain_panoptic_segments(*logits, size, (0, 3), 0.5, 0.6)
        assert torch.equal(ids, plain_ids)
        assert segments == plain_segments
        num_segments += len(segments)
    assert num_segments > 4


@pytest.mark.parametrize('num_segments', [0, 30, 60])
def test_plain_form__planted_segments(num_segments):
    """Large enough that most tiles have one class, one query, or none that can be there."""
    size = ImageSize((288, 416), (288, 400), (333, 500))
    for seed in range(2):
        logits = planted_logits((72, 104), 60, 20, 12, num_segments, seed)
        scores = plain_semantic_scores(*logits, size)
        assert torch.equal(semantic_map(*logits, size), scores.argmax(0))

        found = instances(*logits, size, range(12), 100)
        plain = plain_instances(*logits, size, range(12), 100)
        assert all(torch.equal(found[key], plain[key]) for key in ('labels', 'bboxes', 'masks'))
        torch.testing.assert_close(found.scores, plain.scores, rtol=1e-6, atol=1e-6)

        ids, segments = panoptic_segments(*logits, size, range(12), 0.8, 0.8)
        plain_ids, plain_segments = plain_panoptic_segments(*logits, size, range(12), 0.8, 0.8)
        assert torch.equal(ids, plain_ids)
        assert segments == plain_segments
        assert len(segments) >= num_segments / 3


def test_plain_form__rivals_that_are_nearly_equal():
    """In each tile all classes and queries win somewhere, by a thousandth."""
    size = ImageSize((32, 48), (30, 45), (40, 58))
    mask_logits = 1 + 0.002 * torch.randn(4, 8, 12, generator=torch.Generator().manual_seed(0))
    logits = 9 * torch.eye(4, 5), mask_logits
    labels = semantic_map(*logits, size)
    assert torch.equal(labels, plain_semantic_scores(*logits, size).argmax(0))
    assert len(labels.unique()) == 4
    ids, segments = panoptic_segments(*logits, size, range(4), 0.5, 0.0)
    plain_ids, plain_segments = plain_panoptic_segments(*logits, size, range(4), 0.5, 0.0)
    assert torch.equal(ids, plain_ids) and segments == plain_segments and len(segments) == 4


@pytest.mark.parametrize('num_queries', [1, 2])
def test_plain_form__one_class(num_queries):
    size = SIZES[1]
    logits = random_logits(0, num_queries, 1, size)
    assert torch.equal(semantic_map(*logits, size), torch.zeros(size.original, dtype=torch.int64))
    assert len(instances(*logits, size, (0,), 100)) == num_queries
    ids, segments = panoptic_segments(*logits, size, (0,), 0.0, 0.0)
    plain_ids, plain_segments = plain_panoptic_segments(*logits, size, (0,), 0.0, 0.0)
    assert torch.equal(ids, plain_ids) and segments == plain_segments


def test_panoptic_segments__score_equal_to_threshold_dropped():
    class_logits = torch.tensor([[0.75, 0.25]]).log()
    score = class_logits.softmax(-1).max().item()
    args = class_logits, torch.full((1, 2, 2), 5.0), same_size(2, 2), (0,)
    assert panoptic_segments(*args, object_mask_thr=score, overlap_thr=0.8)[1] == []
    assert len(panoptic_segments(*args, object_mask_thr=score - 1e-6, overlap_thr=0.8)[1]) == 1


@pytest.mark.parametrize('rival_pixels, is_kept', [(1, True), (2, False)])
def test_panoptic_segments__area_ratio(rival_pixels, is_kept):
    masks = torch.full((2, 1, 5), -9.0)
    masks[0] = 2.0
    masks[1, 0, :rival_pixels] = 9.0
    class_logits = torch.tensor([[0.9, 0.05, 0.05], [0.05, 0.9, 0.05]]).log()
    _, segments = panoptic_segments(class_logits, masks, same_size(1, 5), (0, 1), 0.5, 0.8)
    assert (0 in [s['category_id'] for s in segments]) is is_kept


@pytest.mark.parametrize('logit', [0.0, -1e-9])
def test_panoptic_segments__mask_probability_half_counts(logit):
    class_logits = torch.tensor([[0.9, 0.1]]).log()
    ids, _ = panoptic_segments(class_logits, torch.full((1, 2, 2), logit), same_size(2, 2), (0,), 0.5, 0.8)
    assert ids.tolist() == [[1000, 1000], [1000, 1000]]


@pytest.mark.parametrize('working_elements', [1, 2**23])
def test_panoptic_segments__tie_goes_to_lower_query(working_elements, monkeypatch):
    monkeypatch.setattr(tiles, 'WORKING_ELEMENTS', working_elements)
    monkeypatch.setattr(semantic, 'STRIP_ELEMENTS', working_elements)
    class_logits = torch.tensor([[0.05, 0.9, 0.05], [0.9, 0.05, 0.05]]).log()
    ids, segments = panoptic_segments(class_logits, torch.full((2, 2, 2), 3.0), same_size(2, 2), (0, 1), 0.5, 0.8)
    assert ids.unique().tolist() == [1001] and len(segments) == 1


def test_panoptic_segments__stuff_merges_things_count():
    masks = torch.full((5, 1, 10), -9.0)
    for query in range(5):
        masks[query, 0, 2 * query : 2 * query + 2] = 9.0
    class_logits = torch.full((5, 3), -9.0)
    class_logits[range(5), [0, 1, 0, 1, 0]] = torch.tensor([3.0, 4.0, 5.0, 6.0, 7.0])
    ids, segments = panoptic_segments(class_logits, masks, same_size(1, 10), (0,), 0.5, 0.8)
    assert ids.tolist() == [[1000, 1000, 1001, 1001, 2000, 2000, 1001, 1001, 3000, 3000]]
    assert [s['id'] for s in segments] == [1000, 1001, 2000, 3000]
    assert segments[1]['score'] == pytest.approx(class_logits[1].softmax(-1)[1].item())


def test_panoptic_segments__nothing_kept():
    class_logits = torch.tensor([[0.0, 0.0, 9.0]])
    ids, segments = panoptic_segments(class_logits, torch.ones(1, 2, 2), same_size(2, 3), (0,), 0.5, 0.8)
    assert ids.tolist() == [[2, 2, 2], [2, 2, 2]] and segments == []


def test_predictions__logits_that_are_no_numbers():
    """Of a training that has diverged: a prediction without a meaning, no error."""
    logits, size = (torch.tensor([[9.0, 0.0], [0.0, 9.0]]), torch.full((2, 8, 8), torch.nan)), same_size(32, 32)
    assert semantic_map(*logits, size).shape == (32, 32)
    assert panoptic_segments(*logits, size, (0,), 0.5, 0.8)[1] == []
    assert not instances(*logits, size, (0,), 5).masks.any()


def test_instances__logit_zero_is_outside():
    found = instances(torch.zeros(1, 2), torch.tensor([[[0.0, 1e-6]]]), same_size(1, 2), (0,), 1)
    assert found.masks.tolist() == [[[False, True]]]


def test_instances__empty_mask_scores_zero():
    found = instances(torch.tensor([[9.0, 0.0]]), torch.full((1, 2, 2), -1.0), same_size(2, 2), (0,), 5)
    assert found.scores.tolist() == [0.0] and found.bboxes.tolist() == [[0, 0, 0, 0]]


def test_instances__no_things():
    found = instances(torch.zeros(3, 4), torch.ones(3, 2, 2), same_size(4, 5), (), 5)
    assert len(found) == 0
    assert found.masks.shape == (0, 4, 5) and found.bboxes.shape == (0, 4)


def test_instances__stuff_takes_places_before_it_is_dropped():
    class_logits = torch.tensor([[5.0, 0.0, 0.0], [0.0, 9.0, 0.0]])
    assert len(instances(class_logits, torch.ones(2, 2, 2), same_size(2, 2), (0,), 1)) == 0


def test_tight_boxes__edges():
    masks = torch.zeros(3, 4, 6, dtype=torch.bool)
    masks[0, 1:3, 2:6] = True
    masks[1, 0, 0] = True
    assert tight_boxes(masks).tolist() == [[2, 1, 6, 3], [0, 0, 1, 1], [0, 0, 0, 0]]


@pytest.mark.parametrize('task', ['semantic', 'instance', 'panoptic'])
def test_post_processor__only_the_task(task):
    sample = BaseDataElement()
    test_cfg = SimpleNamespace(object_mask_thr=0.8, overlap_thr=0.8, max_per_image=8, mask_format='auto')
    PostProcessor((0, 1), test_cfg).write(sample, task, *golden_case())
    names = {'semantic': 'pred_sem_seg', 'instance': 'pred_instances', 'panoptic': 'pred_panoptic_seg'}
    assert sample.keys() == [names[task]]
    prediction = sample.get(names[task])
    if task != 'instance':
        assert prediction.sem_seg.shape == (1, 5, 6) and torch.equal(prediction.sem_seg, prediction.data)
    if task == 'panoptic':
        assert [s['id'] for s in prediction.segments_info] == [1000, 1002, 1001]


def test_post_processor__wrong_task():
    with pytest.raises(ValueError, match='depth'):
        PostProcessor((0, 1), None).write(BaseDataElement(), 'depth', *golden_case())


def test_predictions__half_precision_input():
    class_logits, masks, size = golden_case()
    logits = class_logits.bfloat16(), masks.bfloat16()
    assert torch.equal(semantic_map(*logits, size), semantic_map(class_logits, masks, size))
    assert len(panoptic_segments(*logits, size, (0, 1), 0.8, 0.8)[1]) == 3
    assert instances(*logits, size, (0, 1), 8).scores.dtype == torch.float32
