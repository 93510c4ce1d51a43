"""What the resampling, flipping and packing write by themselves, against the libraries they have it from."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import TRANSFORMS
from mmseg.datasets.transforms import PhotoMetricDistortion
from PIL import Image

from mmseg_oneformer.annotations.id_maps import number_type
from mmseg_oneformer.datasets.randomness import keyed_randomness
from mmseg_oneformer.datasets.transforms.color import RandomColorDistortion
from mmseg_oneformer.datasets.transforms.crop import ResizeAndCrop
from mmseg_oneformer.datasets.transforms.flip import RandomHorizontalFlip
from mmseg_oneformer.datasets.transforms.packing import PackOneFormerInputs
from mmseg_oneformer.datasets.transforms.resampling import Window, resize_image, resize_map
from mmseg_oneformer.datasets.transforms.targets import task_targets

LSJ = (
    dict(type='RandomScaleResize', scale=(0.1, 2.0), size=(64, 64)),
    dict(type='FixedSizeCrop', size=(64, 64)),
)
SHORTEST_EDGE = (
    dict(type='RandomShortestEdge', sizes=[24, 40, 48, 96], max_size=128),
    dict(type='RandomPanopticCrop', size=(64, 64)),
)


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def sample(seed, size=(40, 60)):
    segment_map = np.random.default_rng(seed + 1).integers(0, 9, size, dtype=np.int32)
    return dict(img=picture(*size, seed), gt_seg_map=segment_map, img_shape=size, ori_shape=size)


def same(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        if isinstance(value, np.ndarray):
            assert value.dtype == other[key].dtype and np.array_equal(value, other[key]), key
        else:
            assert value == other[key], key


# ---- resizing and a window of it


@pytest.mark.parametrize('seed', range(60))
def test_resize__windows_of_pils_result(seed):
    rng = np.random.default_rng(seed)
    (height, width), (new_height, new_width) = rng.integers(1, 90, 2).tolist(), rng.integers(1, 200, 2).tolist()
    if seed % 2:  # A photo that grows, or stays.
        new_height, new_width = max(height, new_height), max(width, new_width)
    image, segment_map = picture(height, width, seed), rng.integers(0, 99, (height, width), dtype=np.int32)
    rows, columns = rng.integers(1, (new_height + 1, new_width + 1)).tolist()
    top, left = rng.integers(0, (new_height - rows + 1, new_width - columns + 1)).tolist()
    window, part = Window(top, left, rows, columns), np.s_[top : top + rows, left : left + columns]

    by_pil = np.asarray(Image.fromarray(image).resize((new_width, new_height), Image.Resampling.BILINEAR))
    assert np.array_equal(resize_image(image, (new_height, new_width)), by_pil)
    assert np.array_equal(resize_image(image, (new_height, new_width), window), by_pil[part])
    by_pil = np.asarray(Image.fromarray(segment_map).resize((new_width, new_height), Image.Resampling.NEAREST))
    by_opencv = cv2.resize(segment_map, (new_width, new_height), interpolation=cv2.INTER_NEAREST_EXACT)
    whole = resize_map(segment_map, (new_height, new_width))
    assert np.array_equal(whole, by_opencv)
    assert np.array_equal(resize_map(segment_map, (new_height, new_width), window), whole[part])
    in_bytes = resize_map(segment_map.astype(np.uint8), (new_height, new_width), window)
    assert in_bytes.dtype == np.uint8 and in_bytes.flags.c_contiguous and np.array_equal(in_bytes, whole[part])
    assert whole.dtype == np.int32 and (whole != by_pil).mean() < 0.02  # They differ where two centres are as near.


def test_resize__large_photos():
    image = picture(480, 640)
    by_pil = np.asarray(Image.fromarray(image).resize((2048, 1536), Image.Resampling.BILINEAR))
    part = resize_image(image, (1536, 2048), Window(512, 1024, 1024, 1024))
    assert np.array_equal(part, by_pil[512:, 1024:]) and part.flags.c_contiguous


def test_resize__grey_photos():
    image = picture(20, 30)[..., 0]
    by_pil = np.asarray(Image.fromarray(image).resize((60, 40), Image.Resampling.BILINEAR))
    assert np.array_equal(resize_image(image, (40, 60)), by_pil)


@pytest.mark.parametrize('parts', [LSJ, SHORTEST_EDGE], ids=['lsj', 'shortest_edge'])
def test_resize_and_crop__equals_one_behind_the_other(parts):
    together = ResizeAndCrop(*parts)
    apart = [TRANSFORMS.build(part) for part in parts]
    for seed in range(25):
        with keyed_randomness(seed):
            expected = sample(seed)
            for transform in apart:
                expected = transform(expected)
            after = np.random.uniform()
        with keyed_randomness(seed):
            same(together(sample(seed)), expected)
            assert np.random.uniform() == after  # As many numbers were drawn.


def test_resize_and_crop__other_parts():
    with pytest.raises(ValueError, match='cannot have PadTo as its crop'):
        ResizeAndCrop(LSJ[0], dict(type='PadTo', size=(8, 8)))
    with pytest.raises(ValueError, match='cannot have FixedSizeCrop as its resize'):
        ResizeAndCrop(LSJ[1], LSJ[1])


# ---- flipping


def test_random_horizontal_flip__equals_mmdet():
    ours, theirs = RandomHorizontalFlip(0.3), TRANSFORMS.build(dict(type='mmdet.RandomFlip', prob=0.3))
    flips = []
    for seed in range(30):
        with keyed_randomness(seed):
            expected = theirs(sample(seed))
        expected.pop('homography_matrix', None)
        with keyed_randomness(seed):
            results = ours(sample(seed))
        same(results, expected)
        assert results['img'].flags.c_contiguous and results['gt_seg_map'].flags.c_contiguous
        flips.append(results['flip'])
    assert 3 < sum(flips) < 18


def test_random_horizontal_flip__photo_alone():
    image = picture(4, 5)
    assert np.array_equal(RandomHorizontalFlip(1.0)(dict(img=image))['img'], image[:, ::-1])
    with pytest.raises(ValueError, match=r'0\.\.1, got 2'):
        RandomHorizontalFlip(2)


# ---- colour


class SourceDistortion(PhotoMetricDistortion):
    """mmseg's, but the hue as the reference draws it: ``random.randint(-18, 18)`` of Python, which has both ends."""

    def hue(self, img):
        if not np.random.randint(2):
            return img
        shift = np.random.choice(range(-self.hue_delta, self.hue_delta + 1))
        img = cv2.cvtColor(img, cv2.COLOR_BGR2HSV)
        img[:, :, 0] = (img[:, :, 0].astype(int) + shift) % 180
        self.shifts = {*getattr(self, 'shifts', ()), int(shift)}
        return cv2.cvtColor(img, cv2.COLOR_HSV2BGR)


def test_random_color_distortion__equals_the_source():
    ours, theirs = RandomColorDistortion(), SourceDistortion()
    for seed in range(600):
        image = picture(6, 8, seed)
        with keyed_randomness(seed):
            expected, after = theirs(dict(img=image.copy()))['img'], np.random.uniform()
        with keyed_randomness(seed):
            results = ours(dict(img=image))
            assert np.random.uniform() == after  # As many numbers were drawn.
        assert results['img'].dtype == np.uint8 and np.array_equal(results['img'], expected)
        assert np.array_equal(image, picture(6, 8, seed))  # Not changed in place.
    assert theirs.shifts == set(range(-18, 19))  # of steps of 2 degrees


# ---- targets and packing


@pytest.mark.parametrize('segments', [1, 255, 256, 700])
@pytest.mark.parametrize('task', ['semantic', 'panoptic'])
def test_task_targets__any_number_of_segments(segments, task):
    rng = np.random.default_rng(segments)
    segment_map = rng.integers(0, segments + 1, (24, 24), dtype=np.int32)
    table = [dict(label=int(rng.integers(5)), isthing=True, iscrowd=False) for _ in range(segments)]
    index_map, labels = task_targets(segment_map.astype(number_type(segments)), table, task)
    assert index_map.dtype == np.int16 and index_map.shape == segment_map.shape
    for number, segment in enumerate(table, start=1):
        targets = np.unique(index_map[segment_map == number])
        assert len(targets) <= 1 and (labels[targets] == segment['label']).all()
    assert (index_map[segment_map == 0] == -1).all() and index_map.max() == len(labels) - 1
    # Every target is one segment, or one class.
    names = {
        (segment_map[y, x] if task == 'panoptic' else labels[index_map[y, x]]) for y, x in np.argwhere(segment_map)
    }
    assert len(names) == len(labels)


@pytest.mark.parametrize('channels', [1, 3])
def test_pack__any_strides(channels):
    image = picture(6, 7)[:, ::-1, :channels]
    packed = PackOneFormerInputs()(dict(img=image))['inputs']
    expected = np.repeat(image, 3 // channels, axis=2).transpose(2, 0, 1)  # grey photos have three equal channels
    assert packed.is_contiguous() and torch.equal(packed, torch.from_numpy(expected.copy()))
