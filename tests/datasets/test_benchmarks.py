import json
import re
from pathlib import Path

import cv2
import mmdet.datasets
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS

from mmseg_oneformer.evaluation.panoptic_quality import pq_statistics
from mmseg_oneformer.zoo.configs import read_config

BASES = Path(__file__).parents[2] / 'configs/_base_/datasets'
CONFIGS = {
    'ade20k': 'ade20k_panoptic',
    'cityscapes': 'cityscapes_panoptic_512x1024',
    'coco': 'coco_panoptic_lsj',
    'mapillary': 'mapillary_panoptic_1024x1024',
}
# The evaluated labels of Cityscapes in the order of their train ids, with the ids that the panoptic JSON uses.
CITYSCAPES = {
    'road': 7,
    'sidewalk': 8,
    'building': 11,
    'wall': 12,
    'fence': 13,
    'pole': 17,
    'traffic light': 19,
    'traffic sign': 20,
    'vegetation': 21,
    'terrain': 22,
    'sky': 23,
    'person': 24,
    'rider': 25,
    'car': 26,
    'truck': 27,
    'bus': 28,
    'train': 31,
    'motorcycle': 32,
    'bicycle': 33,
}


def metainfo(name):
    return DATASETS.get(f'{name}Panoptic').METAINFO


@pytest.mark.parametrize(
    ('name', 'classes', 'things'),
    [('Ade20k', 150, 100), ('Cityscapes', 19, 8), ('Coco', 133, 80), ('Mapillary', 65, 37)],
)
def test_metainfo__counts(name, classes, things):
    meta = metainfo(name)
    assert len(meta['classes']) == len(set(meta['classes'])) == len(meta['palette']) == classes
    assert len(set(meta['thing_ids'])) == things


def test_metainfo__things_of_the_reference(golden):
    for name, key in (('Ade20k', 'ade20k'), ('Cityscapes', 'cityscapes'), ('Mapillary', 'mapillary')):
        assert list(metainfo(name)['thing_ids']) == golden[f'{key}_thing_ids']
    remapped = golden['ade20k_instance_remap_examples']
    assert all(metainfo('Ade20k')['thing_ids'][index] == int(label) for label, index in remapped.items())


def test_metainfo__ade20k_names():
    """mmdet has the names of the same preparation, things first, and two of them in other words."""
    ours, theirs = metainfo('Ade20k'), mmdet.datasets.ADE20KPanopticDataset.METAINFO['classes']
    assert set(ours['classes']) - set(theirs) == {'window ', 'plane'}
    assert set(theirs) - set(ours['classes']) == {'window', 'airplane'}
    things = {ours['classes'][label] for label in ours['thing_ids']}
    assert things - {'window ', 'plane'} == set(theirs[:100]) - {'window', 'airplane'}
    stuff = [name for name in ours['classes'] if name not in things]
    assert stuff == list(theirs[100:])
    first_words = [re.split(r'[, ]', name)[0] for name in ours['classes']]
    short = [re.split(r'[, ]', name)[0] for name in mmdet.datasets.ADE20KSegDataset.METAINFO['classes']]
    assert sum(one == other for one, other in zip(first_words, short)) > 110  # the same order, other translations


def test_metainfo__names_that_the_golden_texts_use(golden):
    texts = golden['tokens']['items']
    prefix = 'a photo with a '
    names = {text.removeprefix(prefix) for text in texts if text.startswith(prefix)}
    known = {name for data in ('Ade20k', 'Coco', 'Mapillary') for name in metainfo(data)['classes']}
    assert len(names) == 5 and names <= known


def test_metainfo__cityscapes_order(drawn_benchmarks):
    meta = metainfo('Cityscapes')
    assert meta['classes'] == tuple(CITYSCAPES)
    assert drawn_benchmarks.CITYSCAPES_IDS == tuple(CITYSCAPES.values()) == tuple(sorted(CITYSCAPES.values()))


@pytest.mark.parametrize('name', CONFIGS)
def test_base__states_the_classes_of_its_data(name):
    cfg = Config.fromfile(BASES / f'{CONFIGS[name]}.py')
    meta = DATASETS.get(cfg.train_dataloader.dataset.type).METAINFO
    assert cfg.num_classes == len(meta['classes']) and cfg.thing_ids == meta['thing_ids']


@pytest.fixture
def load(drawn_benchmarks, tmp_path, monkeypatch):
    """Draw a benchmark and build its data set of one split as the config says."""
    monkeypatch.chdir(tmp_path)

    def make(name, split='train', pipeline=None, spoil=None):
        if not (tmp_path / drawn_benchmarks.BENCHMARKS[name].root).exists():
            drawn_benchmarks.draw_benchmark(name, tmp_path, train=6, val=4)
        if spoil:
            path = tmp_path / drawn_benchmarks.BENCHMARKS[name].root / drawn_benchmarks.BENCHMARKS[name].json(split)
            content = json.loads(path.read_text())
            spoil(content)
            path.write_text(json.dumps(content))
        cfg = Config.fromfile(BASES / f'{CONFIGS[name]}.py')
        data = cfg[f'{split}_dataloader'].dataset
        if pipeline is not None:
            data.pipeline = pipeline
        return DATASETS.build(data)

    return make


@pytest.mark.parametrize('name', CONFIGS)
@pytest.mark.parametrize('split', ['train', 'val'])
def test_layout__every_pixel_has_the_class_that_was_drawn(load, drawn_benchmarks, name, split):
    load_ids = dict(type='LoadPanopticIds', allow_absent=name == 'ade20k')
    data = load(name, split, [dict(type='LoadImageFromFile'), load_ids])
    benchmark = drawn_benchmarks.BENCHMARKS[name]
    content = json.loads((Path(benchmark.root) / benchmark.json(split)).read_text())
    names = {entry['id']: entry['name'] for entry in content['categories']}
    assert len(data) == (6 if split == 'train' else 4)
    crowds = 0
    for number, sample in enumerate(data):
        annotation = content['annotations'][number]
        assert Path(sample['img_path']) == Path(benchmark.root) / benchmark.photo(split, number + 1)
        bgr = cv2.imread(f'{benchmark.root}/{benchmark.maps(split)}/{annotation["file_name"]}').astype(int)
        ids = bgr[..., 2] + 256 * bgr[..., 1] + 65536 * bgr[..., 0]
        assert (sample['gt_seg_map'][ids == 0] == 0).all()
        for segment in annotation['segments_info']:
            found = np.unique(sample['gt_seg_map'][ids == segment['id']])
            if len(found):
                entry = sample['segments_info'][found.item() - 1]
                assert data.metainfo['classes'][entry['label']] == names[segment['category_id']]
                assert entry['iscrowd'] == segment['iscrowd']
                crowds += entry['iscrowd']
    assert bool(crowds) == (name != 'ade20k')


def things_first(content):
    content['categories'].sort(key=lambda entry: not entry['isthing'])
    for number, entry in enumerate(content['categories']):
        entry['id'] = number


def test_ade20k__json_with_things_first_is_rejected(load):
    with pytest.raises(ValueError, match=r"category 0 is 'bed' where the config has 'wall' as class 0"):
        load('ade20k', spoil=things_first)


def test_ade20k__listed_segment_without_a_pixel(load):
    """No target in training, missed in panoptic quality; elsewhere a mistake."""
    data = load('ade20k')
    assert data[0]['data_samples'].gt_targets.index_map.shape == (1, 512, 512)
    sample = load('ade20k', 'val')[0]['data_samples']
    table, index_map = sample.segments_info, sample.gt_panoptic_seg.sem_seg[0].numpy()
    assert table[-1]['label'] == 0
    ids = [number * 10 for number in range(1, len(table))]
    predicted = np.array([150, *ids, 150])[index_map]
    found = [dict(id=number, category_id=segment['label']) for number, segment in zip(ids, table)]
    statistics = pq_statistics(index_map, table, predicted, found, 150)
    assert statistics.tp.sum() == len(table) - 1 and statistics.fp.sum() == 0
    assert statistics.fn[0] == statistics.fn.sum() == 1
    table[0]['area'] *= 3  # what panopticapi takes for the union
    assert pq_statistics(index_map, table, predicted, found, 150).tp.sum() == len(table) - 2
    strict = [dict(type='LoadImageFromFile'), dict(type='LoadPanopticIds')]
    with pytest.raises(ValueError, match=r'no pixel of segment 123456.*allow_absent=True'):
        load('ade20k', pipeline=strict)[0]


def unlabeled_segment(content):
    content['annotations'][0]['segments_info'][0]['category_id'] = 66


def test_mapillary__unlabeled_is_no_class(load):
    assert load('mapillary').metainfo['classes'][-1] == 'Ego Vehicle'
    with pytest.raises(ValueError, match='category 66'):
        load('mapillary', spoil=unlabeled_segment)


def test_train_pipeline__cityscapes_crop_and_test_size(load):
    shapes = {load('cityscapes')[index]['inputs'].shape for index in range(3)}
    assert all(height == 512 and width <= 1024 for _, height, width in shapes)
    assert load('cityscapes', 'val')[0]['inputs'].shape == (3, 1024, 1024)  # square pictures; photos are twice as wide


@pytest.mark.parametrize(
    ('experiment', 'edge', 'crop'),
    [
        ('oneformer_r50_8xb2-160k_ade20k-512x512', 512, (512, 512)),
        ('oneformer_swin-l_8xb2-160k_ade20k-640x640', 640, (640, 640)),
        ('oneformer_swin-l_8xb2-160k_ade20k-896x896', 896, (896, 896)),
        ('oneformer_swin-l_8xb2-160k_ade20k-1280x1280', 1280, (1280, 1280)),
        ('oneformer_swin-l_8xb2-90k_cityscapes-512x1024', 1024, (512, 1024)),
        ('oneformer_swin-l_8xb2-300k_mapillary-1024x1024', 2048, (1024, 1024)),
    ],
)
def test_train_pipeline__samples_are_those_of_two_transforms_with_all_numbers(load, experiment, edge, crop):
    sizes = [int(0.1 * tenths * edge) for tenths in range(5, 21)]
    resize = dict(type='RandomShortestEdge', sizes=sizes, max_size=4 * edge)
    two = [resize, dict(type='RandomPanopticCrop', size=crop)]
    pipeline = read_config(experiment).train_dataloader.dataset.pipeline
    apart = [part for step in pipeline for part in (two if step.type == 'RandomShortestEdgeCrop' else [step])]
    assert len(apart) == len(pipeline) + 1
    name = experiment.split('_')[-1].split('-')[0]
    data, expected = load(name, pipeline=pipeline), load(name, pipeline=apart)
    for seed in range(2):
        (image, sample), (other_image, other) = (part[seed, seed].values() for part in (data, expected))
        assert torch.equal(image, other_image) and sample.metainfo == other.metainfo
        assert torch.equal(sample.gt_targets.index_map, other.gt_targets.index_map)
        assert torch.equal(sample.gt_instances.labels, other.gt_instances.labels)
