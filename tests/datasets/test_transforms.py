import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import TRANSFORMS
from PIL import Image

from mmseg_oneformer.annotations.id_maps import decode_ids, table_index_map
from mmseg_oneformer.datasets.panoptic import PanopticDataset
from mmseg_oneformer.datasets.transforms.crop import FixedSizeCrop, PadTo, RandomPanopticCrop
from mmseg_oneformer.datasets.transforms.loading import LoadPanopticIds
from mmseg_oneformer.datasets.transforms.packing import PackOneFormerInputs, class_map, ignore_index
from mmseg_oneformer.datasets.transforms.resize import (
    RandomScaleResize,
    RandomShortestEdge,
    ShortestEdge,
    shortest_edge_size,
)
from mmseg_oneformer.datasets.transforms.texts import DescribeTargets

LSJ = [
    dict(type='mmdet.RandomFlip', prob=0.5),
    dict(type='RandomScaleResize', scale=(0.1, 2.0), size=(64, 64)),
    dict(type='FixedSizeCrop', size=(64, 64)),
]
SHORTEST_EDGE = [
    dict(type='RandomShortestEdge', sizes=[24, 48, 96], max_size=128),
    dict(type='RandomPanopticCrop', size=(64, 64)),
    dict(type='mmdet.RandomFlip', prob=0.5),
    dict(type='PadTo', size=(64, 64)),
]


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def results_of(height=40, width=60):
    """A photo whose left part is bright and belongs to segment 1, the rest dark and segment 2."""
    segment_map = np.full((height, width), 2, np.uint8)
    segment_map[:, : width // 3] = 1
    image = np.where(segment_map[..., None] == 1, 250, 5).astype(np.uint8).repeat(3, -1)
    return dict(
        img=image,
        gt_seg_map=segment_map,
        segments_info=[
            dict(id=8, label=1, isthing=True, iscrowd=False),
            dict(id=9, label=0, isthing=False, iscrowd=False),
        ],
        img_shape=(height, width),
        ori_shape=(height, width),
        classes=('tree', 'cat'),
        thing_ids=(1,),
    )


# ---- loading


def png(ids, channels=3):
    planes = [ids >> 16, ids >> 8 & 255, ids & 255, np.full_like(ids, 255)][:channels]
    return cv2.imencode('.png', np.stack(planes, -1).astype(np.uint8))[1].tobytes()


@pytest.mark.parametrize('channels', [3, 4])
def test_decode_ids__all_three_bytes(channels):
    ids = np.random.default_rng(0).integers(0, 2**24, (13, 17)).astype(np.int32)
    decoded = decode_ids(png(ids, channels))
    assert decoded.dtype == np.int32 and (decoded == ids).all()


def test_table_index_map__equals_a_naive_loop():
    rng = np.random.default_rng(0)
    numbers = [3_000_000, 7, 65_536, 16_777_215]
    ids = rng.choice([0, *numbers], (9, 11)).astype(np.int32)
    table = [dict(id=number) for number in numbers]
    expected = np.zeros_like(ids)
    for place, number in enumerate(numbers, start=1):
        expected[ids == number] = place
    assert (table_index_map(ids, table, 'x.png') == expected).all()


@pytest.mark.parametrize(('segments', 'dtype'), [(255, np.uint8), (256, np.int32)])
def test_table_index_map__bytes_for_few_segments(segments, dtype):
    ids = np.arange(segments + 1, dtype=np.int32)[None]
    index_map = table_index_map(ids, [dict(id=number) for number in range(1, segments + 1)], 'x.png')
    assert index_map.dtype == dtype and (index_map == ids).all()


def test_table_index_map__only_void():
    assert not table_index_map(np.zeros((2, 3), np.int32), [], 'x.png').any()
    with pytest.raises(ValueError, match='id 4'):
        table_index_map(np.full((2, 3), 4, np.int32), [], 'x.png')


def test_load_panoptic_ids__silent_without_annotations():
    results = dict(img=picture(4, 5), img_path='x.jpg', ori_shape=(4, 5))
    assert LoadPanopticIds()(dict(results)).keys() == results.keys()


# ---- resizing


def test_shortest_edge_size__golden(golden):
    numbers = golden['resize']
    assert shortest_edge_size((333, 500), 512, 2048) == tuple(numbers['shortest_edge_512_of_333x500'])
    assert shortest_edge_size((333, 777), 512, 600) == tuple(numbers['shortest_edge_512_cap_600_of_333x777'])
    assert shortest_edge_size((500, 333), 512, 2048) == (769, 512)  # 768.77, upright
    views = [list(shortest_edge_size((512, 683), edge, 4096)) for edge in (256, 384, 512, 640, 768, 896)]
    assert views == numbers['tta_views_of_512x683_R50_ADE']


@pytest.mark.parametrize('size', [(333, 500), (500, 333), (512, 512), (37, 641)])
@pytest.mark.parametrize(('edge', 'cap'), [(512, 2048), (100, 250), (800, 1333)])
def test_resize__equals_pil(size, edge, cap):
    image = picture(*size)
    segment_map = np.random.default_rng(1).integers(0, 999, size, dtype=np.int32)
    results = ShortestEdge(edge, cap)(dict(img=image, gt_seg_map=segment_map))
    height, width = shortest_edge_size(size, edge, cap)
    # BGR or RGB is the same to PIL; a map of int32 is its mode I.
    assert (results['img'] == np.asarray(Image.fromarray(image).resize((width, height), Image.BILINEAR))).all()
    by_pil = np.asarray(Image.fromarray(segment_map).resize((width, height), Image.NEAREST))
    assert (results['gt_seg_map'] == by_pil).all() and results['gt_seg_map'].dtype == np.int32
    assert results['img_shape'] == (height, width)
    assert results['scale_factor'] == (width / size[1], height / size[0])


def test_shortest_edge__without_map():
    results = ShortestEdge(20, 100)(dict(img=picture(40, 60)))
    assert results['img'].shape == (20, 30, 3) and 'gt_seg_map' not in results


def test_random_shortest_edge__draws_every_size():
    transform = RandomShortestEdge([10, 20, 30], max_size=100)
    np.random.seed(0)
    sides = [min(transform(dict(img=picture(40, 60)))['img_shape']) for _ in range(60)]
    assert {10, 20, 30} == set(sides)
    assert min(sides.count(side) for side in (10, 20, 30)) > 8


def test_random_scale_resize__size():
    transform = RandomScaleResize((0.1, 2.0), (1024, 1024))
    assert transform.new_size((480, 640), 1.0) == (768, 1024)
    assert transform.new_size((640, 480), 0.5) == (512, 384)
    assert transform.new_size((427, 640), 0.1) == (68, 102)
    assert transform.new_size((1, 640), 0.1) == (1, 102)
    np.random.seed(0)
    longest = [max(transform(dict(img=picture(30, 40)))['img_shape']) for _ in range(50)]
    assert 102 <= min(longest) < 300 and 1800 < max(longest) <= 2048


# ---- cropping and padding


def test_random_panoptic_crop__every_place_and_no_padding():
    image = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    corners = set()
    np.random.seed(0)
    for _ in range(200):
        results = RandomPanopticCrop((3, 9))(dict(img=image, gt_seg_map=image[..., 0].astype(np.int32)))
        assert results['img'].shape == (3, 7, 3) and results['img_shape'] == (3, 7)
        assert (results['img'][..., 0] == results['gt_seg_map']).all()
        corners.add(int(results['gt_seg_map'][0, 0]))
    assert corners == {0, 21, 42}


def test_fixed_size_crop__one_fraction_for_both_offsets(monkeypatch):
    image = picture(100, 200)
    monkeypatch.setattr(np.random, 'uniform', lambda low, high: 0.25)
    results = FixedSizeCrop((40, 120))(dict(img=image, gt_seg_map=image[..., 0].astype(np.int32)))
    assert (results['img'] == image[15:55, 20:140]).all()
    assert (results['gt_seg_map'] == image[15:55, 20:140, 0]).all()


@pytest.mark.parametrize('transform', [PadTo, FixedSizeCrop])
def test_padding__grey_and_void(transform):
    image = picture(10, 12)
    results = transform((16, 20))(dict(img=image, gt_seg_map=np.ones((10, 12), np.int32)))
    assert results['img'].shape == (16, 20, 3) and results['img_shape'] == (16, 20)
    assert (results['img'][:10, :12] == image).all() and (results['gt_seg_map'][:10, :12] == 1).all()
    assert (results['img'][10:] == 128).all() and (results['img'][:, 12:] == 128).all()
    assert (results['gt_seg_map'][10:] == 0).all() and (results['gt_seg_map'][:, 12:] == 0).all()
    assert results['img'].dtype == np.uint8 and results['gt_seg_map'].dtype == np.int32


def test_pad_to__cuts_what_is_larger():
    image = picture(10, 30)
    results = PadTo((16, 20))(dict(img=image))
    assert (results['img'][:10] == image[:, :20]).all() and results['img'].shape == (16, 20, 3)


@pytest.mark.parametrize('recipe', [LSJ, SHORTEST_EDGE], ids=['lsj', 'shortest_edge'])
def test_recipes__photo_and_map_stay_aligned(recipe):
    transforms = [TRANSFORMS.build(step) for step in recipe]
    np.random.seed(0)
    seen = set()
    for _ in range(40):
        results = results_of()
        for transform in transforms:
            results = transform(results)
        image, segment_map = results['img'][..., 0].astype(int), results['gt_seg_map']
        assert image.shape == segment_map.shape == results['img_shape'] == (64, 64)
        assert (image[segment_map == 0] == 128).all()
        wrong = ((segment_map == 1) & (image < 128)) | ((segment_map == 2) & (image > 128))
        assert wrong.sum() <= 2 * 64  # Half-covered pixels along the one edge.
        seen.update(np.unique(segment_map).tolist())
    assert seen == {0, 1, 2}


# ---- packing


def test_pack__training_sample():
    results = {**results_of(), 'task': 'panoptic', 'gt_labels': np.array([1, 0])}
    results['gt_index_map'] = (results['gt_seg_map'] - 1).astype(np.int16)
    packed = PackOneFormerInputs()(DescribeTargets()(results))
    sample = packed['data_samples']
    assert packed['inputs'].dtype == torch.uint8 and packed['inputs'].shape == (3, 40, 60)
    assert packed['inputs'].is_contiguous()
    assert (packed['inputs'].numpy().transpose(1, 2, 0) == results['img']).all()
    assert sample.gt_instances.labels.tolist() == [1, 0] and sample.gt_instances.labels.dtype == torch.int64
    assert sample.gt_targets.index_map.dtype == torch.int16 and sample.gt_targets.index_map.shape == (1, 40, 60)
    assert sample.texts == ('a photo with a tree', 'a photo with a cat') and sample.text_counts == (1, 1)
    assert sample.task == 'panoptic' and sample.filler == 'a panoptic photo'
    assert 'gt_sem_seg' not in sample and 'segments_info' not in sample


def test_pack__test_sample(toy):
    config = toy.config(test_mode=True)
    config['pipeline'] = [
        dict(type='LoadImageFromFile'),
        dict(type='ShortestEdge', size=80, max_size=200),
        dict(type='LoadPanopticIds'),
        dict(type='PackOneFormerInputs'),
    ]
    packed = PanopticDataset(**config)[0]
    sample = packed['data_samples']
    assert packed['inputs'].shape == (3, 80, 120)
    assert sample.img_shape == (80, 120) and sample.ori_shape == (40, 60) and sample.scale_factor == (2.0, 2.0)
    assert sample.img_id == 1 and [segment['label'] for segment in sample.segments_info] == [0, 1]
    for truth in (sample.gt_panoptic_seg, sample.gt_sem_seg):
        assert truth.sem_seg.shape == (1, 40, 60) and torch.equal(truth.sem_seg, truth.data)
    segments, classes = sample.gt_panoptic_seg.sem_seg[0], sample.gt_sem_seg.sem_seg[0]
    assert segments.dtype == torch.int32 and classes.dtype == torch.int64
    assert segments[0, 0] == 1 and segments[30, 20] == 2 and segments[30, 50] == 0
    assert classes[0, 0] == 0 and classes[30, 20] == 1 and classes[30, 50] == 255


def test_pack__crowds_are_in_the_class_map(toy):
    config = toy.config(test_mode=True)
    config['pipeline'].append(dict(type='PackOneFormerInputs'))
    assert PanopticDataset(**config)[1]['data_samples'].gt_sem_seg.sem_seg.unique().tolist() == [1, 2]


def test_pack__map_of_the_wrong_size(toy):
    config = toy.config(test_mode=True)
    config['pipeline'] += [dict(type='ShortestEdge', size=80, max_size=200), dict(type='PackOneFormerInputs')]
    with pytest.raises(ValueError, match='LoadPanopticIds behind the resizing'):
        PanopticDataset(**config)[0]


def test_pack__plain_photo():
    packed = PackOneFormerInputs()(dict(img=picture(4, 5), img_id=0, ori_shape=(4, 5), img_shape=(4, 5)))
    assert packed['inputs'].shape == (3, 4, 5)
    assert set(packed['data_samples'].metainfo_keys()) == {'img_id', 'ori_shape', 'img_shape'}
    assert not packed['data_samples'].keys()


def test_class_map__many_classes():
    assert ignore_index(255) == 255 and ignore_index(150) == 255
    assert ignore_index(300) > 300
    labels = class_map(np.array([[0, 1]]), [dict(label=299)], ignore_index(300))
    assert labels.tolist() == [[301, 299]]


@pytest.mark.parametrize(
    'config',
    [
        dict(type='RandomShortestEdge', sizes=[], max_size=9),
        dict(type='RandomScaleResize', scale=(0.0, 1.0), size=(9, 9)),
        dict(type='RandomScaleResize', scale=(2.0, 1.0), size=(9, 9)),
        dict(type='PadTo', size=(0, 9)),
    ],
)
def test_bad_settings(config):
    with pytest.raises(ValueError, match=r'must be'):
        TRANSFORMS.build(config)


def test_types__resolve_in_both_scopes():
    from mmengine.registry import init_default_scope

    for scope in ('mmdet', 'mmseg'):
        init_default_scope(scope)
        for step in [*LSJ, *SHORTEST_EDGE, dict(type='mmseg.PhotoMetricDistortion'), dict(type='LoadImageFromFile')]:
            TRANSFORMS.build(step)


def test_decode_ids__16_bits_are_rejected():
    data = cv2.imencode('.png', np.full((2, 2, 3), 300, np.uint16))[1].tobytes()
    with pytest.raises(ValueError, match='16 bits'):
        decode_ids(data)
