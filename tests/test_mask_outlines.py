import numpy as np
import pytest
from pycocotools import mask as mask_api

from mmseg_oneformer.mask_outlines import mask_outlines


def shoelace(ring):
    x, y = ring[:, 0].astype(float), ring[:, 1].astype(float)
    return abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2


def fill(ring, size):
    return mask_api.decode(mask_api.frPyObjects([ring.ravel().astype(float).tolist()], *size)[0]).astype(bool)


@pytest.mark.parametrize('density', [0.1, 0.5, 0.9])
def test_random_masks__outlines_enclose_them(density):
    rng = np.random.default_rng(int(10 * density))
    for _ in range(200):
        mask = rng.random(rng.integers(1, 14, 2)) < density
        outlines = mask_outlines(mask)
        area = sum(shoelace(o.exterior) - sum(map(shoelace, o.holes)) for o in outlines)
        assert area == mask.sum()
        for ring in (ring for o in outlines for ring in (o.exterior, *o.holes)):
            steps = ring - np.roll(ring, 1, axis=0)
            assert ((steps == 0).sum(axis=1) == 1).all(), 'along the edges of pixels only'
            turns = steps[:, 0] * np.roll(steps, -1, axis=0)[:, 1] - steps[:, 1] * np.roll(steps, -1, axis=0)[:, 0]
            assert turns.all(), 'no corner on a straight line'


def test_ring_and_spot__filled_again_by_an_independent_rasteriser():
    mask = np.zeros((20, 30), bool)
    mask[2:15, 3:25] = True
    mask[5:9, 6:20] = False
    mask[17:19, 28:30] = True
    large, small = mask_outlines(mask)
    assert (len(large.holes), len(small.holes)) == (1, 0)
    again = (fill(large.exterior, mask.shape) & ~fill(large.holes[0], mask.shape)) | fill(small.exterior, mask.shape)
    assert np.array_equal(again, mask)


def test_one_pixel__is_a_square_at_its_place():
    mask = np.zeros((5, 7), bool)
    mask[2, 4] = True
    (outline,) = mask_outlines(mask)
    assert {tuple(corner) for corner in outline.exterior.tolist()} == {(4, 2), (5, 2), (5, 3), (4, 3)}


def test_empty_mask__has_none():
    assert mask_outlines(np.zeros((4, 5), bool)) == []


def test_outlines__parts_that_touch_at_a_corner_are_two():
    outlines = mask_outlines(np.eye(3, dtype=bool))
    assert sorted(outline.exterior.min(axis=0).tolist() for outline in outlines) == [[0, 0], [1, 1], [2, 2]]
    assert all(len(outline.exterior) == 4 and not outline.holes for outline in outlines)
