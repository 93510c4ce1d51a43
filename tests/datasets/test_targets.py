import numpy as np
import pytest
import torch
from mmengine.registry import TRANSFORMS

from mmseg_oneformer.datasets.panoptic import PanopticDataset
from mmseg_oneformer.datasets.transforms.targets import SampleTask, TaskTargets, target_masks, task_targets
from mmseg_oneformer.datasets.transforms.texts import TEMPLATES, DescribeTargets, target_texts
from mmseg_oneformer.tasks import TASKS

NAMES = {0: 'wall', 7: 'bed', 12: 'person', 149: 'flag'}
CLASSES = tuple(NAMES.get(label, f'class {label}') for label in range(150))


@pytest.fixture
def toy_map(golden):
    """The 300 x 400 image of the golden section `targets`, as index map and segment table."""
    things = golden['ade20k_thing_ids']
    rows = [
        (300, 149, (0, 0, 150, 200)),
        (5, 0, (0, 200, 150, 400)),
        (70_000, 12, (150, 0, 300, 100)),
        (9, 12, (150, 100, 300, 200)),
        (11, 0, (150, 200, 300, 300)),
        (13, 7, (150, 300, 300, 400)),
    ]
    segment_map = np.zeros((300, 400), np.int32)
    table = []
    for place, (number, label, (top, left, bottom, right)) in enumerate(rows, start=1):
        segment_map[top:bottom, left:right] = place
        table.append(dict(id=number, label=label, isthing=label in things, iscrowd=number == 13))
    segment_map[0:4, 0:4] = 0
    segment_map[290:300, 0:20] = 0
    return segment_map, table


@pytest.mark.parametrize('task', TASKS)
def test_targets_and_texts__golden(golden, toy_map, task):
    expected = golden['targets'][task]
    index_map, labels = task_targets(*toy_map, task)
    assert labels.tolist() == expected['classes'] and labels.dtype == np.int64
    assert index_map.dtype == np.int16
    masks = target_masks(torch.from_numpy(index_map), len(labels))
    assert masks.sum((1, 2)).tolist() == expected['areas']
    texts, counts = target_texts(labels, CLASSES, golden['ade20k_thing_ids'])
    assert [text for text, count in zip(texts, counts) for _ in range(count)] == expected['texts']
    results = dict(task=task, gt_labels=labels, classes=CLASSES, thing_ids=())
    assert DescribeTargets()(results)['filler'] == expected['filler']


@pytest.mark.parametrize('task', TASKS)
def test_targets__equal_a_stack_of_masks(toy_map, task):
    """Against the definition: a mask a segment, merged by class in the semantic task."""
    segment_map, table = toy_map
    stack = {}
    for place, segment in enumerate(table, start=1):
        if segment['iscrowd'] or (task == 'instance' and not segment['isthing']):
            continue
        key = segment['label'] if task == 'semantic' else segment['id']
        stack[key] = stack.get(key, False) | (segment_map == place)
    index_map, labels = task_targets(segment_map, table, task)
    masks = target_masks(torch.from_numpy(index_map)[None], len(labels)).numpy()
    assert (masks == np.stack(list(stack.values()))).all()
    assert ((index_map == -1) == ~masks.any(0)).all()


@pytest.mark.parametrize('task', TASKS)
def test_targets__crowds_never(toy_map, task):
    segment_map, table = toy_map
    index_map, labels = task_targets(segment_map, table, task)
    assert 7 not in labels and (index_map[150:, 300:] == -1).all()


def test_targets__segments_lost_by_the_crop(toy_map):
    segment_map, table = toy_map
    index_map, labels = task_targets(segment_map[150:, 100:], table, 'panoptic')
    assert labels.tolist() == [12, 0]
    assert set(np.unique(index_map)) == {-1, 0, 1}


def test_targets__first_segment_of_a_class_lost(toy_map):
    segment_map, table = toy_map
    # Of class 0 only the later segment is left: it opens the class, behind the ones of class 12.
    assert task_targets(segment_map[150:], table, 'semantic')[1].tolist() == [12, 0]


@pytest.mark.parametrize('task', TASKS)
def test_targets__nothing_left(toy_map, task):
    _, table = toy_map
    index_map, labels = task_targets(np.zeros((5, 6), np.int32), table, task)
    assert labels.shape == (0,) and labels.dtype == np.int64 and (index_map == -1).all()
    assert target_masks(torch.from_numpy(index_map), 0).shape == (0, 5, 6)
    assert target_texts(labels, CLASSES, ()) == ((), ())


def test_targets__no_things(toy):
    data = PanopticDataset(**toy.config())
    results = {**data[2], 'task': 'instance'}
    assert TaskTargets()(results)['gt_labels'].tolist() == []
    assert TaskTargets()({**results, 'task': 'panoptic'})['gt_labels'].tolist() == [0]


def test_targets__through_the_pipeline(toy, train_pipeline):
    data = PanopticDataset(**{**toy.config(), 'pipeline': train_pipeline})
    tasks = set()
    for number in range(40):
        sample = data[number, number % 3]['data_samples']
        labels = sample.gt_instances.labels
        masks = target_masks(sample.gt_targets.index_map, len(labels))
        assert masks.any(-1).any(-1).all() and masks.sum(0).max() <= 1
        assert sum(sample.text_counts) == len(labels)
        tasks.add(sample.task)
    assert tasks == set(TASKS)


def test_targets__need_annotations_and_a_task():
    with pytest.raises(ValueError, match=r'x\.jpg has no segment map'):
        TaskTargets()(dict(img_path='x.jpg', task='semantic'))
    with pytest.raises(ValueError, match='SampleTask'):
        TaskTargets()(dict(gt_seg_map=np.zeros((2, 2), np.int32), segments_info=[]))
    with pytest.raises(ValueError, match='TaskTargets'):
        DescribeTargets()(dict(task='semantic'))


def test_sample_task__golden_thresholds(golden):
    transform = SampleTask(dict(semantic=0.33, instance=0.33, panoptic=0.34))
    for draw, task in golden['targets']['thresholds'].items():
        assert transform.task_for(float(draw)) == task


def test_sample_task__shares():
    transform = SampleTask(dict(panoptic=0.5, semantic=0.2, instance=0.3))
    np.random.seed(0)
    tasks = [transform({})['task'] for _ in range(3000)]
    shares = [tasks.count(task) / 3000 for task in ('semantic', 'instance', 'panoptic')]
    assert shares == pytest.approx([0.2, 0.3, 0.5], abs=0.03)


@pytest.mark.parametrize('task', TASKS)
def test_sample_task__one_alone(task):
    transform = SampleTask({task: 1.0})
    assert transform.task_for(0.0) == transform.task_for(0.999999) == task


def test_sample_task__rounding_of_the_sum():
    assert SampleTask(dict(semantic=1 / 3, instance=1 / 3, panoptic=1 / 3 - 1e-8)).task_for(1 - 1e-12) == 'panoptic'


@pytest.mark.parametrize(
    ('probs', 'message'),
    [
        (dict(semantic=0.5, panoptic=0.4), 'sum to 1'),
        (dict(semantic=1.5, panoptic=-0.5), '0..1'),
        (dict(depth=1.0), "unknown task 'depth'"),
        (dict(semantic=0.33, instance=0.66, panoptic=1.0), 'sum to 1'),
    ],
)
def test_sample_task__bad_probabilities(probs, message):
    with pytest.raises(ValueError, match=message):
        SampleTask(probs)


@pytest.mark.parametrize(
    ('template', 'texts'),
    [
        ('photo', ('a photo with a wall', 'a photo with a person')),
        ('name', ('wall', 'person')),
        ('photo_type', ('a photo with a wall stuff', 'a photo with a person thing')),
    ],
)
def test_texts__templates(template, texts):
    assert target_texts(np.array([12, 0, 12]), CLASSES, {12}, template) == (texts, (1, 2))


@pytest.mark.parametrize(
    ('task', 'kinds'), [('panoptic', 'stuff thing'), ('instance', 'stuff thing'), ('semantic', 'stuff stuff')]
)
def test_describe__merged_masks_of_the_semantic_task_are_no_things(task, kinds):
    step = TRANSFORMS.build(dict(type='DescribeTargets', template='photo_type'))
    results = dict(gt_labels=np.array([12, 0]), classes=CLASSES, thing_ids=(12,), task=task)
    assert ' '.join(text.rpartition(' ')[2] for text in step.transform(results)['texts']) == kinds


def test_texts__blank_at_the_end_is_kept():
    assert target_texts(np.array([0]), ('window ',), ())[0] == ('a photo with a window ',)


def test_texts__unknown_template():
    with pytest.raises(ValueError, match=', '.join(TEMPLATES)):
        TRANSFORMS.build(dict(type='DescribeTargets', template='photo with'))


def test_texts__two_classes_of_one_name():
    """The reference would emit three texts for each of the two; we count by index."""
    classes = ('flag', *CLASSES[1:])
    texts, counts = target_texts(np.array([149, 0, 0]), classes, ())
    assert texts == ('a photo with a flag', 'a photo with a flag') and counts == (2, 1)


def test_texts__many_targets_of_one_class():
    labels = np.array([12, 149] * 100)
    assert target_texts(labels, CLASSES, ())[1] == (100, 100)
