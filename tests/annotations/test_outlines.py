"""Outlines are checked before pycocotools draws them."""

import math

import numpy as np
import pytest
from pycocotools import mask as mask_api

from mmseg_oneformer.annotations.outlines import check_segmentation, outline_code, polygon_code
from mmseg_oneformer.annotations.values import InvalidValueError

SIZE = (48, 64)
SQUARE = [0, 0, 4, 0, 4, 4, 0, 4]


def masks(count: int = 60):
    """Random masks of random sizes, fine and coarse ones, empty and full ones."""
    rng = np.random.default_rng(0)
    for number in range(count):
        fine = rng.random(rng.integers(1, 70, 2)) < rng.choice([0, 0.02, 0.5, 1])
        yield np.kron(fine, np.ones((7, 8), bool))[:200, :200] if number % 2 else fine


def test_outline_code__compressed_and_listed_counts_are_the_mask():
    for mask in masks():
        size = mask.shape
        compressed = mask_api.encode(np.asfortranarray(mask.astype(np.uint8)))
        flat = mask.reshape(-1, order='F')
        edges = np.flatnonzero(np.diff(flat.astype(np.int8), prepend=0))
        listed = np.diff(edges, prepend=0, append=flat.size).tolist()
        for counts in (compressed['counts'].decode(), compressed['counts'], listed, [str(count) for count in listed]):
            code = outline_code({'size': list(size), 'counts': counts}, size)
            assert (mask_api.decode(code) == mask).all()


def test_outline_code__any_change_of_a_code_is_refused_or_another_mask():
    """Nothing that pycocotools would fill with what the memory held gets through."""
    rng = np.random.default_rng(1)
    refused = 0
    for mask in masks(40):
        size = mask.shape
        counts = bytearray(mask_api.encode(np.asfortranarray(mask.astype(np.uint8)))['counts'])
        for _ in range(20):
            changed = bytearray(counts)
            if rng.random() < 0.5:
                changed[rng.integers(len(changed))] = rng.integers(32, 127)
            else:
                del changed[rng.integers(len(changed)) :]
            try:
                code = outline_code({'size': list(size), 'counts': changed.decode()}, size)
            except InvalidValueError:
                refused += 1
                continue
            # `toBbox` and `area` read the runs, `decode` fills them: all agree only where the runs fill the photo.
            assert int(mask_api.area(code)) == int(mask_api.decode(code).sum())
    assert refused > 300


@pytest.mark.parametrize(
    ('segmentation', 'words'),
    [
        ([], 'no segmentation'),
        (None, 'no segmentation'),
        ('abc', 'neither outlines nor a mask'),
        (5, 'neither'),
        ([1, 2, 3, 4, 5, 6], 'flat list'),
        ([[1, 2, 3, 4]], 'outline of 4 numbers'),
        ([SQUARE, [1, 2, 3, 4, 5, 6, 7]], 'outline of 7 numbers'),
        ([[0, 0, 4, math.nan, 4, 4]], 'not finite'),
        ([[0, 0, 4, math.inf, 4, -math.inf]], 'not finite'),
        ([[0, 0, 4, 10**400, 4, 4]], 'too large|far outside|not finite'),
        ([[0, 0, 4, 1e9, 4, 4]], 'far outside the photo of 64x48: y is 1e.09'),
        ([[-1e5, 0, 4, 9, 4, 4]], 'x is -100000'),
        ([[0, 0, 4, '9', 4, 4]], "'9' where a number"),
        ([[0, 0, 4, None, 4, 4]], 'None where a number'),
        ([[[0, 0], [4, 0], [4, 4], [4, 4], [4, 4], [4, 4]]], 'where a number'),
        ([{'x': 1}], 'where an outline belongs'),
        ({'size': [48, 64], 'counts': [100, 50]}, 'add up to 150 pixels, but its photo of 64x48 has 3072'),
        ({'size': [48, 64], 'counts': [-1, 3073]}, 'is -1'),
        ({'size': [48, 64], 'counts': [2**40, 3072]}, 'is 1099511627776'),
        ({'size': [48, 64], 'counts': [1.5, 3070.5]}, 'not a whole number'),
        ({'size': [48, 64], 'counts': 'zzzz'}, 'count|compressed'),
        ({'size': [48, 64], 'counts': ''}, 'counts'),
        ({'size': [48, 64], 'counts': []}, 'add up to 0'),
        ({'size': [48, 64], 'counts': '[3000, 72]'}, 'compressed|add up|count that'),
        ({'size': [48, 64], 'counts': 'ä'}, 'not a compressed code'),
        ({'size': [48, 64], 'counts': 'o' * 30}, 'not a compressed code'),
        ({'size': [64, 48], 'counts': [3072]}, 'mask of 48x64, but its photo is 64x48'),
        ({'counts': [3072]}, r'\[height, width\]'),
        ({'size': [48, 64]}, 'counts None'),
    ],
)
def test_outline_code__what_is_wrong_in_words(segmentation, words):
    for read in (outline_code, check_segmentation):
        with pytest.raises(InvalidValueError, match=words):
            read(segmentation, SIZE)


def test_polygon_code__an_endless_zigzag_is_invalid():
    """A file of 1.6 MB with 100 000 points anywhere around a photo of 24 megapixels took 23 GB."""
    zigzag = [0, 0, 6000, 4000]
    with pytest.raises(InvalidValueError, match='pixels long, more than'):
        polygon_code([zigzag * 1000], (4000, 6000))
    saw = [number for x in range(1500) for number in (x, 4000 * (x % 2))]  # 6 million pixels long, but a real outline
    assert mask_api.area(polygon_code([[*saw, 1500, 0]], (4000, 6000))) > 0


def test_polygon_code__somewhat_outside_is_cut_off():
    code = polygon_code([[-5, -5, 3, -5, 3, 3, -5, 3]], SIZE)
    assert mask_api.decode(code).sum() == 9
