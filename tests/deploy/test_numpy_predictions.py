"""oneformer_numpy against the plain form, PyTorch's pipeline, and an environment that has nothing but numpy."""

import shutil
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import TRANSFORMS
from PIL import Image

from benchmarks.peers.plain_postprocess import plain_instances, plain_panoptic_segments, plain_semantic_map
from benchmarks.planted import planted_logits
from mmseg_oneformer.deploy import oneformer_numpy
from mmseg_oneformer.deploy.oneformer_numpy import Size, instances, panoptic, preprocess, read_photo, semantic
from mmseg_oneformer.models.postprocess import ImageSize, panoptic_segments

SIZES = [
    Size((64, 96), (64, 96), (64, 96)),
    Size((64, 96), (61, 77), (131, 45)),
    Size((96, 64), (95, 50), (23, 17)),
    Size((32, 32), (3, 32), (1, 11)),
    Size((64, 64), (64, 43), (640, 427)),
]
META = {
    'mean': [123.675, 116.28, 103.53],
    'shortest_edge': 96,
    'max_size': 200,
    'divisor': 32,
    'least_side': 64,
    'fixed_size': None,
}


def random_logits(seed, size, num_queries=24, num_classes=5):
    """Smooth masks and sure classes, so that segments appear, overlap and lose."""
    rng = torch.Generator().manual_seed(seed)
    low = (size.padded[0] // 4, size.padded[1] // 4)
    coarse = torch.randn(num_queries, 1, 4, 4, generator=rng) * 4 - 3
    masks = F.interpolate(coarse, size=low, mode='bicubic', align_corners=False)[:, 0]
    masks = masks + torch.randn(num_queries, *low, generator=rng) * 0.3
    return torch.randn(num_queries, num_classes + 1, generator=rng) * 4, masks


def assert_same_predictions(logits, size, thing_ids, max_per_image, object_mask_thr=0.5, overlap_thr=0.6):
    """All three predictions are those of the plain form; returns the number of panoptic segments."""
    arrays, torch_size = [part.numpy() for part in logits], ImageSize(*size)
    labels = semantic(*arrays, size)
    assert labels.dtype == np.int64
    assert np.array_equal(labels, plain_semantic_map(*logits, torch_size))

    found = instances(*arrays, size, thing_ids, max_per_image)
    plain = plain_instances(*logits, torch_size, thing_ids, max_per_image)
    np.testing.assert_allclose(found.scores, plain.scores, rtol=1e-5, atol=1e-6)
    assert np.array_equal(found.labels, plain.labels)
    assert np.array_equal(found.boxes, plain.bboxes)
    assert np.array_equal(found.masks, plain.masks)

    ids, segments = panoptic(*arrays, size, thing_ids, object_mask_thr, overlap_thr)
    plain_ids, plain_segments = plain_panoptic_segments(*logits, torch_size, thing_ids, object_mask_thr, overlap_thr)
    assert ids.dtype == np.int32
    assert np.array_equal(ids, plain_ids)
    assert [{**one, 'score': pytest.approx(one['score'], rel=1e-5)} for one in plain_segments] == segments
    return len(segments)


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('side', [5, 64])
def test_predictions__equal_the_plain_form(size, side, monkeypatch):
    monkeypatch.setattr(oneformer_numpy, 'SIDE', side if size.original[0] < 200 else 64)
    assert sum(assert_same_predictions(random_logits(seed, size), size, (0, 3), 40) for seed in range(4)) > 4


@pytest.mark.parametrize('num_segments', [0, 30])
def test_predictions__planted_segments(num_segments):
    """Large enough that most tiles have one class, one query, or none that can be there."""
    size = Size((288, 416), (288, 400), (333, 500))
    logits = planted_logits((72, 104), 60, 20, 12, num_segments, 0)
    assert assert_same_predictions(logits, size, list(range(12)), 100, 0.8, 0.8) >= num_segments / 3


def test_predictions__one_class():
    size = SIZES[0]
    class_logits, mask_logits = random_logits(0, size, num_classes=1)
    assert_same_predictions((class_logits, mask_logits), size, [0], 10)
    assert_same_predictions((class_logits, mask_logits), size, [], 10)


def test_predictions__equal_queries_compete_in_their_order():
    size = SIZES[0]
    class_logits, mask_logits = random_logits(1, size, num_queries=6)
    twice = (class_logits.repeat(2, 1), mask_logits.repeat(2, 1, 1))
    arrays = [part.numpy() for part in twice]
    ids, segments = panoptic(*arrays, size, [0, 3], 0.3, 0.6)
    expected_ids, expected = panoptic_segments(*twice, ImageSize(*size), [0, 3], 0.3, 0.6)
    assert np.array_equal(ids, expected_ids) and [one['id'] for one in segments] == [one['id'] for one in expected]


def test_predictions__nothing_found():
    size = SIZES[1]
    class_logits, mask_logits = np.eye(6, dtype=np.float32)[[5] * 7] * 20, np.full((7, 16, 24), -9, np.float32)
    ids, segments = panoptic(class_logits, mask_logits, size, [0], 0.8, 0.8)
    assert (ids == 5).all() and not segments
    found = instances(class_logits, mask_logits, size, [0, 1], 10)
    assert found.masks.shape[1:] == size.original and not found.masks.any() and not found.boxes.any()
    assert instances(class_logits, mask_logits, size, [], 10).masks.shape == (0, *size.original)


def test_predictions__winners_of_pixels_that_no_query_has():
    """Probabilities of 1e-12 compete too: what a query wins there counts against its overlap."""
    size = SIZES[0]
    class_logits, mask_logits = random_logits(2, size)
    mask_logits[:, :, 12:] -= 28
    assert_same_predictions((class_logits, mask_logits), size, (0, 3), 40)


def test_predictions__memory_of_a_large_photo_is_bounded():
    """12 megapixels, 60 queries: all masks at once would be 2.9 GB."""
    logits = [part.numpy() for part in planted_logits((96, 128), 60, 20, 12, 30, 0)]
    size = Size((384, 512), (384, 512), (3000, 4000))
    tracemalloc.start()
    panoptic(*logits, size, list(range(12)), 0.8, 0.8)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300e6


@pytest.mark.parametrize('shape', [(50, 70), (97, 31), (300, 100), (96, 96), (9, 500)])
def test_preprocess__equals_the_pipeline(shape):
    photo = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    pixels, size = preprocess(photo, META)
    resized = TRANSFORMS.build({'type': 'ShortestEdge', 'size': 96, 'max_size': 200})(
        {'img': photo, 'img_shape': shape, 'ori_shape': shape}
    )['img']
    assert size.image == resized.shape[:2] and size.original == shape
    height, width = size.image
    assert np.array_equal(pixels[0, :, :height, :width], resized.transpose(2, 0, 1))
    assert all(side % 32 == 0 and side >= 64 for side in size.padded) and pixels.shape[2:] == size.padded
    assert np.allclose(pixels[0, :, height:].swapaxes(0, 2), META['mean'])


@pytest.mark.parametrize(('shape', 'fitted'), [((300, 100), (64, 21)), ((50, 400), (16, 128))])
def test_preprocess__fits_into_a_fixed_size(shape, fitted):
    _, size = preprocess(np.zeros((*shape, 3), np.uint8), {**META, 'fixed_size': [64, 128]})
    assert size == ((64, 128), fitted, shape)


def test_panoptic__a_pixel_of_probability_one_half_belongs_to_the_mask():
    ids, segments = panoptic(np.array([[9.0, 0.0]]), np.zeros((1, 8, 8)), Size((32, 32), (32, 32), (32, 32)), [], 0, 0)
    assert (ids == 1000).all() and [segment['id'] for segment in segments] == [1000]


@pytest.mark.parametrize('photo', [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_preprocess__rejects_what_is_no_photo(photo):
    with pytest.raises(ValueError, match='uint8 RGB'):
        preprocess(photo, META)


def photo_files(folder):
    """Write one small photo in the forms that cameras and programs give it."""
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 256, (6, 9, 3), dtype=np.uint8))
    grey = rgb.convert('L')
    transparent = rgb.copy()
    transparent.putalpha(grey)
    for name, photo in {
        'rgb.png': rgb,
        'rgba.png': transparent,
        'grey.png': grey,
        'bits.png': rgb.convert('1'),
        'palette.png': rgb.quantize(16),
        'grey16.png': Image.fromarray(rng.integers(0, 2**16, (6, 9), dtype=np.uint16)),
        'rgb.tif': rgb,
        'rgb.webp': rgb,
    }.items():
        photo.save(folder / name)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x112] = orientation
        rgb.save(folder / f'turned{orientation}.jpg', exif=exif)
    rgb.save(folder / 'turned6.png', exif=Image.open(folder / 'turned6.jpg').getexif())
    return sorted(folder.iterdir())


def test_read_photo__equals_the_pipeline(tmp_path):
    load = TRANSFORMS.build({'type': 'LoadImageFromFile'})
    files = photo_files(tmp_path)
    assert len(files) == 17
    for path in files:
        photo = read_photo(path)
        assert photo.dtype == np.uint8
        assert np.array_equal(photo, load({'img_path': str(path)})['img'][:, :, ::-1]), path.name


def test_read_photo__rejects_what_is_none(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / 'heights.tif')
    (tmp_path / 'cut.png').write_bytes(photo_files(tmp_path)[0].read_bytes()[:50])
    for name, reason in (('heights.tif', 'no known range'), ('cut.png', '')):
        with pytest.raises(ValueError, match=f'{name} cannot be read as a photo: .*{reason}'):
            read_photo(tmp_path / name)
    with pytest.raises(ValueError, match=r'missing\.png does not exist'):
        read_photo(tmp_path / 'missing.png')
    with pytest.raises(ValueError, match='not a str; read_photo'):
        preprocess('cut.png', META)


def test_module__needs_numpy_alone(tmp_path):
    """Nothing of PyTorch or OpenMMLab can be imported, and the three predictions come."""
    shutil.copy(oneformer_numpy.__file__, tmp_path)
    script = """
import sys
for name in ('torch', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmseg_oneformer', 'scipy', 'cv2'):
    sys.modules[name] = None
import numpy as np
import oneformer_numpy as o
size = o.Size((64, 96), (61, 77), (131, 45))
rng = np.random.default_rng(0)
logits = rng.normal(size=(9, 5)).astype('f') * 4, rng.normal(size=(9, 16, 24)).astype('f')
meta = {'thing_ids': [0], 'max_per_image': 5, 'object_mask_thr': 0.5, 'overlap_thr': 0.1, 'classes': list('abcd')}
print(o.describe({task: o.postprocess(task, *logits, size, meta) for task in o.TASKS}, meta))
"""
    result = subprocess.run([sys.executable, '-c', script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [line.partition(':')[0] for line in result.stdout.splitlines()] == ['semantic', 'instance', 'panoptic']
