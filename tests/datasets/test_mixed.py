"""Sources of three kinds in one data set: shares, passes, classes, and what may go wrong."""

import itertools
import types
from collections import Counter

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS
from torch.utils.data import DataLoader

from mmseg_oneformer.datasets.doctor.source import open_source
from mmseg_oneformer.datasets.metainfo import metainfo_of
from mmseg_oneformer.datasets.mixed import MixedDataset, shares
from mmseg_oneformer.datasets.samplers import PassSampler
from mmseg_oneformer.datasets.shapes import CLASSES
from mmseg_oneformer.engine.hooks import CheckClasses
from mmseg_oneformer.evaluation.instance_ap import InstanceAP
from mmseg_oneformer.evaluation.panoptic_quality import PanopticQuality

SIZES = (7, 4, 3)
LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadPanopticIds')]


@pytest.fixture(scope='module')
def drawn(sources, tmp_path_factory):
    return sources.draw_sources(tmp_path_factory.mktemp('mix'), train=7, val=1, size=64)


@pytest.fixture
def config(drawn, sources, train_pipeline):
    """A mix of 7 photos with panoptic, 4 with semantic and 3 with instance annotations."""
    fast = dict(serialize_data=False)  # Serialising ends with a garbage collection, slower than all the rest.
    return dict(
        metainfo=dict(classes=CLASSES, thing_ids=(3, 4, 5, 6)),
        pipeline=train_pipeline,
        sources=[
            dict(
                **fast,
                type='ShapesPanoptic',
                data_root=f'{drawn}/shapes',
                ann_file='annotations/panoptic_train.json',
                data_prefix=dict(img='train', seg='annotations/panoptic_train'),
            ),
            dict(
                **fast,
                type='SemanticDataset',
                data_root=f'{drawn}/semantic',
                metainfo=dict(classes=sources.SEMANTIC_NAMES),
                data_prefix=dict(img='train', seg='masks/train'),
                task_probs=dict(semantic=1.0),
                indices=4,
            ),
            dict(
                **fast,
                type='InstanceDataset',
                data_root=f'{drawn}/instance',
                ann_file='annotations/instances_train.json',
                data_prefix=dict(img='train'),
                task_probs=dict(instance=1.0),
                indices=3,
            ),
        ],
    )


def photos(mixed, passes):
    return [mixed.locate(number, index) for number in range(passes) for index in range(len(mixed))]


# ---- shares and passes


@pytest.mark.parametrize(
    ('total', 'weights', 'expected'),
    [(10, (1, 1), [5, 5]), (10, (1, 1, 1), [4, 3, 3]), (7, (0.5, 0.25, 0.25), [3, 2, 2]), (3, (2, 1e-3), [3, 0])],
)
def test_shares(total, weights, expected):
    assert shares(total, weights) == expected


def test_shares__positive():
    with pytest.raises(ValueError, match='must be positive'):
        shares(10, (1, 0))


def test_passes__without_weights_each_photo_once(config):
    mixed = MixedDataset(**config)
    assert len(mixed) == sum(SIZES)
    for number in range(3):
        here = [mixed.locate(number, index) for index in range(len(mixed))]
        expected = [(source, number, photo) for source, size in enumerate(SIZES) for photo in range(size)]
        assert sorted(here) == expected and here != expected


@pytest.mark.parametrize('weights', [(1, 1, 1), (1, 5, 2), (10, 1, 1)])
def test_passes__weights_are_shares_and_photos_come_in_turn(config, weights):
    mixed = MixedDataset(**config, weights=weights)
    stream = photos(mixed, 21)
    counts = Counter(source for source, _, _ in stream)
    assert [counts[number] / 21 for number in range(3)] == shares(14, weights)
    for number, size in enumerate(SIZES):
        own = [(own_pass, photo) for source, own_pass, photo in stream if source == number]
        assert [own_pass for own_pass, _ in own] == [place // size for place in range(len(own))]
        whole = own[: len(own) // size * size]
        for start in range(0, len(whole), size):
            assert sorted(photo for _, photo in whole[start : start + size]) == list(range(size))


def test_passes__orders_follow_the_seed_and_differ(config):
    mixed = MixedDataset(**config)
    first = photos(mixed, 3)
    orders = [[photo for source, own_pass, photo in first if (source, own_pass) == (0, k)] for k in range(3)]
    assert orders[0] != orders[1] != orders[2]
    mixed.seed = 1
    other = photos(mixed, 3)
    mixed.seed = 0
    assert other != first == photos(mixed, 3)
    assert len({source.seed for source in mixed.sources}) == 3


# ---- samples


def facts(sample):
    data = sample['data_samples']
    return data.img_path, data.task, data.gt_instances.labels.tolist(), sample['inputs'], data.gt_targets.index_map


def equal(one, other):
    pairs = zip(facts(one), facts(other))
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


def test_samples__same_with_any_number_of_workers_and_from_any_start(config):
    runs = []
    for workers in (0, 2):
        mixed = MixedDataset(**config, weights=(1, 2, 2))
        sampler = PassSampler(mixed, seed=3)
        loader = DataLoader(
            mixed, batch_size=1, sampler=sampler, num_workers=workers, collate_fn=lambda batch: batch[0]
        )
        runs.append(list(itertools.islice(iter(loader), 20)))
    assert all(equal(a, b) for a, b in zip(*runs))
    mixed = MixedDataset(**config, weights=(1, 2, 2))
    sampler = PassSampler(mixed, seed=3)
    sampler.set_start(4, 4)
    assert all(equal(a, mixed[key]) for a, key in zip(runs[0][16:], sampler))


def test_samples__tasks_are_those_of_the_source(config):
    mixed = MixedDataset(**config)
    drawn = [(mixed.locate(*key)[0], mixed[key]['data_samples'].task) for key in np.ndindex(6, 14)]
    tasks = {number: {task for source, task in drawn if source == number} for number in range(3)}
    assert tasks == {0: {'semantic', 'instance', 'panoptic'}, 1: {'semantic'}, 2: {'instance'}}
    assert [mixed.tasks_of((0, index)) for index in (0, 8, 13)] == [
        ('semantic', 'instance', 'panoptic'),
        ('semantic',),
        ('instance',),
    ]


def test_samples__renormalised_where_sources_state_nothing(config, train_pipeline):
    for source in config['sources']:
        source.pop('task_probs', None)
    with pytest.raises(ValueError, match=r'masks/train is annotated for semantic alone and may be drawn for instance'):
        MixedDataset(**config)
    steps = [{**step, 'renormalise': True} if step['type'] == 'SampleTask' else step for step in train_pipeline]
    mixed = MixedDataset(**{**config, 'pipeline': steps})
    assert {mixed[0, index]['data_samples'].task for index in range(7, 11)} == {'semantic'}


def test_classes__by_name_and_void_stays_void(config, sources):
    """Pixel by pixel against the panoptic annotation that the other two were made from."""
    mixed = MixedDataset(**{**config, 'pipeline': LOAD})
    known = {1: set(sources.SEMANTIC_NAMES), 2: set(sources.THING_NAMES)}
    roots = {number: mixed.sources[number].data_root for number in known}
    panoptic = {**config['sources'][0], 'pipeline': LOAD}
    whole = {number: DATASETS.build({**panoptic, 'data_root': root}) for number, root in roots.items()}
    for index in range(7, 14):
        number, _, photo = mixed.locate(0, index)
        sample = mixed[0, index]
        truth = whole[number][photo]
        names = np.array(['void', *(CLASSES[segment['label']] for segment in truth['segments_info'])])
        expected = np.where(np.isin(names, list(known[number])), names, 'void')[truth['gt_seg_map']]
        found = np.array(['void', *(CLASSES[segment['label']] for segment in sample['segments_info'])])
        assert (found[sample['gt_seg_map']] == expected).all()
        assert all(segment['isthing'] == (segment['label'] >= 3) for segment in sample['segments_info'])
        assert sample['classes'] == CLASSES


def test_classes__aliases_rename_and_leave_out(config):
    config['sources'][1]['metainfo'] = dict(classes=('sphere', 'sky', 'water', 'grass'))
    with pytest.raises(ValueError, match="has class 'sphere', which is not in"):
        MixedDataset(**config)
    mixed = MixedDataset(**{**config, 'pipeline': LOAD}, aliases=dict(sphere='ball', sky=None))
    labels = {segment['label'] for index in range(7, 11) for segment in mixed[0, index]['segments_info']}
    assert labels == {1, 2, 3}
    assert all((mixed[0, index]['gt_seg_map'] == 0).any() for index in range(7, 11))
    # What is left out of one source is left out of all that call it so.
    assert 0 not in {segment['label'] for index in range(7) for segment in mixed[0, index]['segments_info']}


# ---- mistakes


def no_sources(config):
    config['sources'] = []


def one_weight(config):
    config['weights'] = (1,)


def starved(config):
    config['weights'] = (1000, 1, 1)


def other_data(config):
    config['sources'][0] = dict(type='mmdet.CocoDataset')


def for_testing(config):
    config['sources'][0]['test_mode'] = True


def no_classes(config):
    del config['metainfo']['thing_ids']


def things_as_stuff(config):
    config['metainfo']['thing_ids'] = (3, 4, 5)


def fewer_classes(config):
    config['metainfo']['classes'] = CLASSES[:6]


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (no_sources, 'has no sources'),
        (one_weight, '3 sources and 1 weights'),
        (starved, r'leave .*masks/train no sample in a pass of 14'),
        (other_data, 'CocoDataset cannot be a source of MixedDataset'),
        (for_testing, 'test_mode=True; evaluate on one source at a time'),
        (no_classes, 'needs classes and thing_ids'),
        (things_as_stuff, "class 'star' is a thing in .* and stuff in the mix"),
        (fewer_classes, "has class 'star', which is not in"),
    ],
)
def test_mistakes(config, spoil, message):
    spoil(config)
    with pytest.raises(ValueError, match=message) as caught:
        MixedDataset(**config)
    assert '\n' not in str(caught.value)


# ---- the rest of the framework


def test_metainfo__of_a_config_without_the_files(config):
    for source in config['sources']:
        source['data_root'] = 'nowhere'
    cfg = Config(dict(data=dict(type='MixedDataset', **config)))
    meta = metainfo_of(cfg.data)
    assert meta['classes'] == CLASSES and meta['thing_ids'] == (3, 4, 5, 6) and len(set(meta['palette'])) == 7


@pytest.mark.parametrize(
    ('place', 'metric', 'message'),
    [
        (1, PanopticQuality, 'PanopticQuality needs panoptic annotations and .*masks/train has semantic ones'),
        (1, InstanceAP, 'InstanceAP needs instance annotations'),
        (2, PanopticQuality, 'with InstanceAP alone'),
        (2, InstanceAP, None),
        (0, PanopticQuality, None),
    ],
)
def test_check_classes__metrics_that_the_annotation_does_not_support(config, place, metric, message):
    dataset = DATASETS.build({**config['sources'][place], 'pipeline': LOAD})
    evaluator = types.SimpleNamespace(metrics=[metric()])
    loop = types.SimpleNamespace(dataloader=types.SimpleNamespace(dataset=dataset), evaluator=evaluator)
    runner = types.SimpleNamespace(model=torch.nn.Linear(1, 1), val_loop=loop, test_loop=loop)
    for check in (CheckClasses().before_val, CheckClasses().before_test):
        if message is None:
            check(runner)
            continue
        with pytest.raises(ValueError, match=message):
            check(runner)


def test_doctor__a_source_has_its_own_classes_and_the_steps_of_the_mix(config, drawn):
    config['pipeline'][1] = dict(type='LoadPanopticIds', allow_absent=True)
    config['metainfo'] = dict(classes=(*CLASSES, 'cow'), thing_ids=(3, 4, 5, 6, 7))
    model = dict(thing_ids=(3, 4, 5, 6, 7), head=dict(num_classes=8))
    cfg = Config(dict(model=model, train_dataloader=dict(dataset=dict(type='MixedDataset', **config))))
    expected = open_source(drawn / 'shapes/annotations/panoptic_train.json', cfg).expected
    assert expected.classes == CLASSES and expected.thing_ids == (3, 4, 5, 6)
    assert expected.num_classes is None and expected.allow_absent
    cfg.train_dataloader.dataset.sources[0].type = 'PanopticDataset'  # Its classes are those of the JSON.
    expected = open_source(drawn / 'shapes/annotations/panoptic_train.json', cfg).expected
    assert expected.classes is None and expected.thing_ids is None


def test_browse__some_of_each_source_under_the_tasks_it_supports(load_tool, config, tmp_path, monkeypatch):
    (tmp_path / 'mix.py').write_text(f'train_dataloader = dict(dataset={dict(type="MixedDataset", **config)!r})\n')
    tool = load_tool('analysis_tools/browse_dataset.py')
    pages = []
    monkeypatch.setattr(tool, 'draw_page', lambda samples, meta: pages.append(samples) or np.zeros((2, 2, 3), np.uint8))
    tool.main([str(tmp_path / 'mix.py'), '--output-dir', str(tmp_path / 'out'), '--num', '7'])
    assert [tuple(page) for page in pages].count(('semantic',)) == 2
    assert {tuple(page) for page in pages} == {('semantic', 'instance', 'panoptic'), ('semantic',), ('instance',)}
    assert all(sample['data_samples'].task == task for page in pages for task, sample in page.items())
    assert len(list((tmp_path / 'out').iterdir())) == 7
