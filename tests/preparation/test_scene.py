"""The rules of overlap, each by hand."""

import numpy as np
import pytest
from pycocotools import mask as mask_api

from mmseg_oneformer.preparation.classes import VOID, Classes, parse_classes
from mmseg_oneformer.preparation.panoptic import SegmentIds
from mmseg_oneformer.preparation.scene import Annotation, Region, segment_annotation

CLASSES = Classes(('dog', 'cat'), ('lawn', 'sky'), {})
PALETTE = [(200, 20, 20), (20, 20, 200), (20, 200, 20), (250, 250, 250)]
SIZE = (8, 10)


def region(name, rows, columns, crowd=False):
    mask = np.zeros(SIZE, np.uint8, order='F')
    mask[rows, columns] = 1
    return Region(CLASSES.names.index(name), mask_api.encode(mask), crowd)


def segment(regions, semantic=None):
    """Names of the segments and a map of their positions, 0 = void."""
    ids, segments, hidden = segment_annotation(Annotation(SIZE, regions, semantic), CLASSES, PALETTE)
    names = [CLASSES.names[entry['category_id'] - 1] + '*' * entry['iscrowd'] for entry in segments]
    index = np.zeros(SIZE, int)
    for number, entry in enumerate(segments, start=1):
        index[ids == entry['id']] = number
        assert entry['area'] == (index == number).sum() > 0
    assert ((index == 0) == (ids == 0)).all()
    return names, index, hidden


ALL = slice(None)


def test_segment__smaller_objects_lie_on_larger_ones():
    small, large = region('cat', slice(2, 4), slice(2, 4)), region('dog', slice(0, 6), slice(0, 6))
    for regions in ([small, large], [large, small]):
        names, index, hidden = segment(regions)
        assert names == ['dog', 'cat'] and hidden == 0
        assert (index[2:4, 2:4] == 2).all() and (index == 1).sum() == 32 and (index == 0).sum() == 80 - 36


def test_segment__of_equal_ones_the_later_is_on_top():
    one, two = region('dog', slice(0, 4), slice(0, 4)), region('cat', slice(2, 6), slice(0, 4))
    assert (segment([one, two])[1][2:4, :4] == 2).all()
    names, index, _ = segment([two, one])
    assert names == ['cat', 'dog'] and (index[2:4, :4] == 2).all()


def test_segment__crowds_lie_under_objects_and_stay_crowds():
    names, index, _ = segment([region('dog', slice(0, 3), slice(0, 3)), region('dog', slice(1, 2), ALL, crowd=True)])
    assert names == ['dog*', 'dog'] and (index[:3, :3] == 2).all() and (index[1, 3:] == 1).all()


def test_segment__stuff_is_one_segment_a_class_and_lies_lowest():
    names, index, _ = segment(
        [
            region('dog', slice(3, 5), slice(0, 2)),
            region('lawn', slice(4, 8), ALL),
            region('lawn', slice(0, 1), slice(0, 1)),
            region('sky', slice(0, 5), slice(0, 4)),
        ]
    )
    # Larger stuff first: lawn 40, sky 20, lawn 1; the dog on all of it.
    assert names == ['lawn', 'sky', 'dog']
    assert index[0, 0] == 1 and (index[5:] == 1).all() and index[4, 9] == 1
    assert (index[1:3, :4] == 2).all() and index[4, 3] == 2
    assert (index[3:5, :2] == 3).all()


def test_segment__the_semantic_map_lies_below_everything():
    semantic = np.full(SIZE, VOID)
    semantic[:4], semantic[4:6, :5], semantic[6:, 5:] = 2, 0, 3
    names, index, _ = segment([region('dog', slice(3, 5), slice(0, 3)), region('lawn', slice(7, 8), ALL)], semantic)
    assert names == ['dog*', 'lawn', 'sky', 'dog']
    assert (index[4, 3:5] == 1).all() and (index[5, :5] == 1).all(), 'dog pixels without a dog are a crowd'
    assert (index[:3] == 2).all() and (index[7] == 2).all(), 'drawn stuff joins that of the map'
    assert (index[6, 5:] == 3).all() and (index[3:5, :3] == 4).all()
    assert (index[4:7, 5:][:2] == 0).all() and index[6, 0] == 0, 'void stays void'


def test_segment__hidden_ones_are_dropped_and_counted():
    names, _, hidden = segment([region('cat', slice(0, 2), slice(0, 2)), region('dog', slice(0, 2), slice(0, 2))])
    assert names == ['dog'] and hidden == 1


def test_segment__covered_classes_of_the_semantic_map_are_not_dropped_objects():
    semantic = np.full(SIZE, CLASSES.names.index('dog'))
    semantic[5:] = CLASSES.names.index('lawn')
    names, _, hidden = segment([region('dog', ALL, ALL)], semantic)
    assert names == ['dog'] and hidden == 0
    names, _, hidden = segment([region('cat', ALL, ALL), region('dog', ALL, ALL)], semantic)
    assert names == ['dog'] and hidden == 1
    assert segment([]) == ([], pytest.approx(np.zeros(SIZE)), 0)


def test_segment__holes_show_what_is_below():
    ring = np.ones(SIZE, np.uint8, order='F')
    ring[2:6, 2:6] = 0
    names, index, _ = segment([Region(0, mask_api.encode(ring)), region('sky', ALL, ALL)])
    assert names == ['sky', 'dog'] and (index[2:6, 2:6] == 1).all() and (index == 2).sum() == 80 - 16


def test_segment_ids__near_the_class_colour_and_never_twice():
    ids = SegmentIds(PALETTE)
    numbers = [ids.next(0) for _ in range(3000)] + [ids.next(2) for _ in range(500)]
    assert numbers[0] == 200 + 256 * 20 + 65536 * 20 and len(set(numbers)) == len(numbers) and 0 not in numbers
    colors = np.array([[n & 255, n >> 8 & 255, n >> 16] for n in numbers[:3000]])
    assert np.abs(colors - PALETTE[0]).max() <= 30
    again = SegmentIds(PALETTE)
    assert [again.next(0) for _ in range(3000)] == numbers[:3000]
    black = SegmentIds([(0, 0, 0)])
    assert black.next(0) > 0


def test_parse_classes__values_and_mistakes():
    classes = parse_classes(['dog=24', 'traffic light', 'dog=25'], ['lawn=1', 'a=b=2'], [255, 0])
    assert classes.things == ('dog', 'traffic light') and classes.stuff == ('lawn', 'a=b')
    assert classes.values == {255: VOID, 0: VOID, 24: 0, 25: 0, 1: 2, 2: 3}
    for things, stuff, message in (
        (['dog=x'], [], 'no number behind'),
        (['dog'], ['dog=3'], 'as thing and as stuff'),
        (['dog=3'], ['lawn=3'], 'Value 3 is given'),
        (['dog=255'], [], 'Value 255 is given'),
    ):
        with pytest.raises(ValueError, match=message):
            parse_classes(things, stuff, [255])
