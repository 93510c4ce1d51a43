import numpy as np
import pytest

from mmseg_oneformer.visualization.colors import class_colors, instance_color, lighten
from mmseg_oneformer.visualization.overlay import (
    SHORT_SIDE,
    Segment,
    draw_instances,
    draw_panoptic,
    draw_segments,
    draw_semantic,
    enlarge,
)
from mmseg_oneformer.visualization.panel import grid, panel, token_panel
from mmseg_oneformer.visualization.text import TextLayer, widest_place

CLASSES = ('disc', 'box', 'sky', 'grass')


def photo(height=60, width=80):
    return np.full((height, width, 3), 120, np.uint8)


def halves(height=60, width=80, left=0, right=2):
    labels = np.full((height, width), left)
    labels[:, width // 2 :] = right
    return labels


def mean_color(picture, rows, columns):
    return picture[rows, columns].reshape(-1, 3).mean(0)


@pytest.mark.parametrize('size', [(1, 1), (7, 300), (60, 80), (480, 481), (700, 600)])
def test_pictures__any_size(size):
    labels = halves(*size)
    masks = np.stack([labels == 0, labels == 2])
    info = [{'id': 0, 'category_id': 0, 'isthing': True}, {'id': 2, 'category_id': 2, 'isthing': False}]
    expected = enlarge(photo(*size))[0].shape
    assert draw_semantic(photo(*size), labels, CLASSES).shape == expected
    assert draw_instances(photo(*size), [0, 1], [0.9, 0.8], masks, CLASSES).shape == expected
    assert draw_panoptic(photo(*size), labels, info, CLASSES).shape == expected


def test_enlarge__small_photos_only():
    assert enlarge(photo(60, 80))[0].shape == (SHORT_SIDE, 640, 3)
    assert enlarge(photo(600, 700))[1] == 1


def test_draw_semantic__colours_where_the_classes_are():
    palette = [(255, 0, 0), (9, 9, 9), (0, 0, 255), (9, 9, 9)]
    picture = draw_semantic(photo(), halves(), CLASSES, palette)
    left = mean_color(picture, slice(5, 60), slice(5, 300))
    right = mean_color(picture, slice(5, 60), slice(340, 635))
    assert left[0] > left[2] + 60 and right[2] > right[0] + 60


def test_draw_semantic__ignored_pixels_stay_grey():
    labels = halves(left=255)
    picture = draw_semantic(photo(), labels, CLASSES)
    assert np.ptp(mean_color(picture, slice(0, 400), slice(0, 300))) < 1


def test_draw_instances__threshold_and_empty():
    masks = np.zeros((2, 60, 80), bool)
    masks[0, 10:50, 10:70] = True
    nothing = draw_instances(photo(), [], [], np.zeros((0, 60, 80), bool), CLASSES)
    assert (draw_instances(photo(), [0, 1], [0.4, 0.9], masks, CLASSES) == nothing).all()
    assert (draw_instances(photo(), [0, 1], [0.6, 0.9], masks, CLASSES) != nothing).any()


def test_draw_panoptic__neighbours_of_one_class_differ():
    info = [{'id': k, 'category_id': 0, 'isthing': True} for k in (1000, 2000)]
    picture = draw_panoptic(photo(), halves(left=1000, right=2000), info, CLASSES)
    left = mean_color(picture, slice(5, 60), slice(5, 300))
    right = mean_color(picture, slice(5, 60), slice(340, 635))
    assert np.abs(left - right).max() > 20


def test_draw_instances__colour_by_place_not_by_score():
    masks = np.stack([halves() == 0, halves() == 2])
    one = draw_instances(photo(), [0, 0], [0.9, 0.8], masks, CLASSES)
    other = draw_instances(photo(), [0, 0], [0.8, 0.9], masks[::-1], CLASSES)
    assert (one[:60] == other[:60]).mean() > 0.99


def test_draw_instances__overlaps_are_painted_once():
    striped, mask = photo(), halves() == 0
    striped[:, ::8] = 250
    contrasts = []
    for number in (1, 4):
        picture = draw_instances(striped, [0] * number, [0.9] * number, np.stack([mask] * number), CLASSES)
        contrasts.append(np.ptp(picture[30, 20:300].astype(int), axis=0).max())
    assert contrasts[1] > 0.8 * contrasts[0] > 20


@pytest.mark.parametrize('isthing', [False, True])
def test_draw_panoptic__borders_are_lighter_than_what_they_enclose(isthing):
    info = [{'id': k, 'category_id': 0, 'isthing': isthing} for k in (1000, 2000)]
    picture = draw_panoptic(photo(500, 600), halves(500, 600, left=1000, right=2000), info, CLASSES).astype(int)
    inside, border = picture[30, [150, 450]].sum(-1), picture[30, 296:304].sum(-1)
    assert border.max() > inside.max() + 60


def test_draw_segments__the_smaller_over_the_larger_and_names_of_things_first(monkeypatch):
    named = []
    monkeypatch.setattr(TextLayer, 'label', lambda layer, text, *rest: named.append(text))
    masks = [np.zeros((500, 600), bool) for _ in range(3)]
    masks[0][:, :], masks[1][100:400, 100:400], masks[2][200:300, 200:300] = True, True, True
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    segments = [Segment(mask, f'{k}', colors[k], k > 0) for k, mask in enumerate(masks)]
    for order in (segments, segments[::-1]):
        picture = draw_segments(photo(500, 600), order)
        assert [picture[250, column].argmax() for column in (50, 150, 250)] == [0, 1, 2]
    assert named == ['1', '2', '0'] * 2


def test_draw_panoptic__no_segments():
    picture = draw_panoptic(photo(), halves(), [], CLASSES)
    assert np.ptp(picture) == 0


def test_pictures__input_unchanged():
    image = photo(500, 600)
    draw_semantic(image, halves(500, 600), CLASSES)
    assert (image == 120).all()


def test_lighten__mixes_with_white_or_black():
    assert [lighten((100, 200, 0), amount) for amount in (0.2, 1, -0.75)] == [
        (131, 211, 51), (255, 255, 255), (25, 50, 0),
    ]  # fmt: skip


def test_instance_color__first_is_the_class_colour_and_all_differ():
    assert instance_color((200, 30, 60), 0) == (200, 30, 60)
    assert len({instance_color((200, 30, 60), k) for k in range(50)}) == 50


def test_class_colors__distinct():
    assert len(set(class_colors(150))) == 150


def test_class_colors__short_palette():
    with pytest.raises(ValueError, match='2 colours for 4 classes'):
        class_colors(4, [(1, 2, 3), (4, 5, 6)])


def test_widest_place__inside_a_crescent():
    ys, xs = np.mgrid[:100, :100]
    mask = ((ys - 50) ** 2 + (xs - 50) ** 2 < 2000) & ((ys - 50) ** 2 + (xs - 70) ** 2 > 1600)
    x, y, room = widest_place(mask, 1.0)
    assert mask[round(y), round(x)]
    assert room > 5


def test_widest_place__prefers_the_middle():
    x, y, _ = widest_place(np.ones((200, 400), bool), 3.0, enough=20)
    assert (x, y) == (pytest.approx(200, abs=3), pytest.approx(100, abs=3))


def test_widest_place__nothing_is_left_of_a_thin_one(recwarn):
    assert widest_place(np.eye(60, dtype=bool), 5.0)[2] == 0  # a hair across the photo, squeezed to a fifth
    assert not recwarn.list


def test_widest_place__empty():
    assert widest_place(np.zeros((5, 5), bool), 2.0)[2] == 0


def test_text_layer__texts_do_not_cover_each_other():
    layer, mask = TextLayer(photo(480, 640), 1.0), np.zeros((480, 640), bool)
    mask[200:260, 200:400] = True
    written = [layer.label('name', mask, (255, 255, 255)) for _ in range(20)]
    assert written[0] and not written[-1]
    boxes = layer._taken
    assert 1 < len(boxes) < 20
    for index, one in enumerate(boxes):
        for other in boxes[:index]:
            assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def test_panel__holds_every_picture():
    pictures = {name: np.full((50, 60, 3), value, np.uint8) for name, value in (('a', 10), ('b', 90), ('c', 170))}
    row, column = panel(pictures), panel(pictures, columns=1)
    assert row.shape[1] > 180 and column.shape[0] > 150
    for page in (row, column):
        assert [(page == value).all(-1).sum() for value in (10, 90, 170)] == pytest.approx([3000] * 3, abs=300)


def test_panel__different_sizes():
    assert panel({'a': photo(50, 60), 'b': photo(100, 30)}, height=40).shape[0] < 120


def test_panel__a_very_wide_picture_is_not_blown_up():
    page = panel({'a': photo(1, 500), 'b': photo(1, 500)}, height=384)
    assert page.shape[0] < 500 and page.shape[1] < 2 * 8 * 384 + 100
    assert panel({'a': photo(40, 900)}).shape[1] > 900  # nor made smaller


def test_panel__nothing():
    with pytest.raises(ValueError, match='at least one'):
        panel({})


def test_grid__a_row_has_its_name_at_the_side():
    cell = photo(100, 100)
    one, other = (grid({name: {'title': cell}}) for name in ('one', 'another'))
    changed = np.nonzero((one != other).any((0, 2)))[0]
    assert one.shape == other.shape and 0 < changed.min() <= changed.max() < one.shape[1] - 100


def test_token_panel__rows_are_tokens():
    rows = {token: {answer: photo() for answer in ('PQ', 'AP', 'mIoU')} for token in ('semantic', 'instance')}
    page = token_panel(rows)
    assert (page == 120).all(-1).sum() == 6 * 60 * 80


def test_token_panel__unequal_rows():
    with pytest.raises(ValueError, match='same pictures'):
        token_panel({'semantic': {'a': photo()}, 'instance': {'b': photo()}})
