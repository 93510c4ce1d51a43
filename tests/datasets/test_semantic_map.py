"""The data set's own class maps, from its layout to the sample that mIoU is measured on."""

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS

from mmseg_oneformer.datasets.transforms.packing import ignore_index
from mmseg_oneformer.datasets.transforms.semantic_map import LoadSemanticMap

CLASSES = tuple('abc')


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.array(values))
    return str(path)


def load(path, classes=CLASSES, **options):
    results = {'sem_map_path': str(path), 'classes': classes}
    return LoadSemanticMap(**options).transform(results)['gt_sem_map']


def test_load_semantic_map__train_ids(tmp_path):
    path = save(tmp_path / 'a.png', np.uint8([[0, 1, 2, 255]]))
    loaded = load(path)
    assert loaded.tolist() == [[0, 1, 2, 255]] and loaded.dtype == np.int64


def test_load_semantic_map__zero_is_void_in_ade20k(tmp_path):
    path = save(tmp_path / 'a.png', np.uint8([[0, 1, 2, 3]]))
    assert load(path, reduce_zero_label=True).tolist() == [[255, 0, 1, 2]]
    names = tuple(str(k) for k in range(255))
    path = save(tmp_path / 'b.png', np.uint8([[0, 255]]))
    assert load(path, names, reduce_zero_label=True).tolist() == [[255, 254]]


def test_load_semantic_map__more_than_255_classes(tmp_path):
    void = ignore_index(300)
    path = save(tmp_path / 'a.png', np.uint16([[0, 255, 299, void]]))
    assert load(path, tuple(str(k) for k in range(300))).tolist() == [[0, 255, 299, void]]


def test_load_semantic_map__without_a_path_nothing_happens():
    assert LoadSemanticMap().transform({'img': 1}) == {'img': 1}


def test_load_semantic_map__mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match=r'gone\.png cannot be read .* set data_prefix\.sem=None'):
        load(tmp_path / 'gone.png')
    with pytest.raises(ValueError, match='has the value 3, which is neither one of the 3 classes nor void'):
        load(save(tmp_path / 'a.png', np.uint8([[0, 3]])))
    with pytest.raises(ValueError, match='has the value 4'):
        load(save(tmp_path / 'a.png', np.uint8([[3, 4]])), reduce_zero_label=True)
    with pytest.raises(ValueError, match='has colours'):
        load(save(tmp_path / 'a.png', np.arange(12, dtype=np.uint8).reshape(2, 2, 3)))
    (tmp_path / 'a.png').write_bytes(b'no picture')
    with pytest.raises(ValueError, match='cannot be decoded'):
        load(tmp_path / 'a.png')
    path = save(tmp_path / 'a.png', np.zeros((2, 3), np.uint8))
    results = {'sem_map_path': path, 'classes': CLASSES, 'ori_shape': (3, 2)}
    with pytest.raises(ValueError, match='is 3x2 but its photo  is 2x3'):
        LoadSemanticMap().transform(results)


PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='ShortestEdge', size=48, max_size=96),
    dict(type='LoadPanopticIds', allow_absent=True),
    dict(type='LoadSemanticMap'),
    dict(type='PackOneFormerInputs'),
]


def build(root, prefix, cities=False):
    name, folder = ('cityscapes', 'gtFine/cityscapes_panoptic_val') if cities else ('ade20k', 'ade20k_panoptic_val')
    photos = 'leftImg8bit/val/' if cities else 'images/validation/'
    return DATASETS.build(
        dict(
            type={'cityscapes': 'CityscapesPanoptic', 'ade20k': 'Ade20kPanoptic'}[name],
            data_root=f'{root}/',
            ann_file=f'{folder}.json',
            data_prefix=dict(img=photos, seg=f'{folder}/') | prefix,
            test_mode=True,
            pipeline=[dict(step, reduce_zero_label=not cities) if 'Sem' in step['type'] else step for step in PIPELINE],
        )
    )


def test_dataset__map_of_its_own_comes_before_the_derived_one(drawn_benchmarks, tmp_path):
    root = drawn_benchmarks.draw_benchmark('ade20k', tmp_path)
    derived = build(root, {})[0]['data_samples'].gt_sem_seg.sem_seg
    own = np.full(derived.shape[1:], 0, np.uint8)
    own[:3], own[3:5] = 1, 150  # wall and flag
    for image in build(root, {}).load_data_list():
        save(root / f'annotations/validation/{image["img_id"]}.png', own)
    sample = build(root, {'sem': 'annotations/validation/'})[0]['data_samples']
    assert np.unique(sample.gt_sem_seg.sem_seg).tolist() == [0, 149, 255]
    assert (sample.gt_sem_seg.data[0, 5:] == 255).all() and 'instance_ids_path' not in sample
    assert (build(root, {'sem': None})[0]['data_samples'].gt_sem_seg.sem_seg == derived).all()


def test_dataset__cityscapes_maps_lie_in_the_folder_of_the_city(drawn_benchmarks, tmp_path):
    root = drawn_benchmarks.draw_benchmark('cityscapes', tmp_path)
    dataset = build(root, {'sem': 'gtFine/val/', 'instance': 'gtFine/val/'}, cities=True)
    info, sample = dataset.get_data_info(1), dataset[1]['data_samples']
    stem = str(root / 'gtFine/val/lindau/lindau_000000_000002_gtFine_')
    assert (info['sem_map_path'], sample.instance_ids_path) == (f'{stem}labelTrainIds.png', f'{stem}instanceIds.png')
    derived = build(root, {}, cities=True)[1]['data_samples']
    assert (sample.gt_sem_seg.sem_seg == derived.gt_sem_seg.sem_seg).all() and 'instance_ids_path' not in derived


def test_dataset__missing_annotations_are_named_before_the_first_sample(drawn_benchmarks, tmp_path):
    root = drawn_benchmarks.draw_benchmark('cityscapes', tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r'elsewhere/lindau/lindau_.*_labelTrainIds\.png does not exist; .*sem=N'
    ):
        build(root, {'sem': 'elsewhere/'}, cities=True)
    with pytest.raises(FileNotFoundError, match=r'_instanceIds\.png does not exist; .*instance=None in data_prefix'):
        build(root, {'instance': 'elsewhere/'}, cities=True)
