"""Attention that is computed again is the network's own, and its pictures show it."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from mmseg_oneformer.analysis.attention import DeformableAttention, query_at, segment_queries, watched
from mmseg_oneformer.apis.results import Panoptic, PanopticSegment
from mmseg_oneformer.models.mask_resize import ImageSize, resize_masks
from mmseg_oneformer.visualization import attention_maps as attention
from mmseg_oneformer.visualization import panel
from mmseg_oneformer.visualization.attention_maps import LEVEL_COLORS, cells_of, draw_heat, draw_points

SHIPPED = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
TOOL = 'analysis_tools/attention.py'


@pytest.fixture(scope='module')
def seen(shipped, photo):
    """The attention of one pass, the network's output, and what each attention module returned itself."""
    image = cv2.resize(photo, (96, 72))[:, :90]  # neither side a multiple of 32: there is padding
    outputs = {}
    modules = [layer.cross_attn for layer in shipped.model.head.decoder.layers]
    modules += [layer.self_attn for layer in shipped.model.head.pixel_decoder.layers]
    handles = [
        module.register_forward_hook(lambda module, inputs, output: outputs.update({module: output}))
        for module in modules
    ]
    with watched(shipped.model) as recorded:
        (logits,) = shipped.logits([shipped.prepare(image)], ['panoptic'])
    for handle in handles:
        handle.remove()
    return recorded, logits, outputs


def test_recorded__give_the_modules_own_outputs(seen):
    recorded, _, outputs = seen
    assert len(recorded.decoder) == 3 and len(recorded.pixel_decoder) == 2
    for look in (*recorded.decoder, *recorded.pixel_decoder):
        expected = outputs[look.module]
        torch.testing.assert_close(look.output(), expected, atol=1e-5 * float(expected.abs().max()), rtol=0)


def test_masked_attention__sums_to_one_where_it_may_look(seen):
    recorded, logits, _ = seen
    shapes = [look.shape for look in recorded.decoder]
    padded = logits.size.padded
    assert shapes == [(padded[0] // stride, padded[1] // stride) for stride in (32, 16, 8)]
    for look in recorded.decoder:
        weights, allowed = look.weights([0, 7, 19]), look.allowed([0, 7, 19])
        assert weights.shape == (4, 3, *look.shape) and allowed.shape == (3, *look.shape)
        torch.testing.assert_close(weights.sum((2, 3)), torch.ones(4, 3))
        assert (weights[:, ~allowed] == 0).all() and allowed.flatten(1).any(1).all()


def test_deformable_attention__of_the_cell_that_holds_the_place(seen):
    recorded, _, _ = seen
    look = recorded.pixel_decoder[-1]
    token = look.token(2, 0.4, 0.6)
    height, width = look.shapes[2]
    column, row = (look.reference[token] * torch.tensor([width, height]) - 0.5).round().int().tolist()
    assert (column, row) == (int(0.4 * width), int(0.6 * height))  # the cell that holds the position
    locations, weights = look.points([token])
    assert locations.shape == (1, 4, 3, 4, 2)
    torch.testing.assert_close(weights.sum((2, 3)), torch.ones(1, 4))


def test_watched__leaves_no_hook(seen, shipped):
    modules = shipped.model.modules()
    assert not [module for module in modules if module._forward_hooks or module._forward_pre_hooks]


def test_watched__one_photo_at_a_time(shipped, photo):
    with pytest.raises(ValueError, match='batch of one'), watched(shipped.model):
        shipped.logits([shipped.prepare(photo)] * 2, ['panoptic'])


def test_queries__of_segments_and_of_pixels(seen):
    _, logits, _ = seen
    prediction = logits.predict('panoptic')
    queries = segment_queries(logits, prediction, 'panoptic')
    assert list(queries) == [segment.id for segment in prediction.panoptic.segments] and len(set(queries.values())) > 2
    for segment in prediction.panoptic.segments:
        query, mask = queries[segment.id], prediction.panoptic.mask(segment)
        scores = logits.class_logits['panoptic'][query].softmax(-1)
        assert int(scores.argmax()) == segment.label and float(scores.max()) == pytest.approx(segment.score)
        y, x = (int(values[len(values) // 2]) for values in np.nonzero(mask))
        assert query_at(logits, 'panoptic', x, y) == query
    with pytest.raises(ValueError, match='outside the photo of 90 x 72'):
        query_at(logits, 'panoptic', 90, 0)


def test_cells__leave_padding_out():
    """What the network's resizing of a picture of cell numbers gives, without its smoothing."""
    size = ImageSize(padded=(64, 96), image=(48, 90), original=(100, 300))
    rows, columns = cells_of((8, 12), size.original, (48 / 64, 90 / 96))
    assert (rows[0, 0], rows[-1, 0], columns[0, 0], columns[0, -1]) == (0, 5, 0, 11)
    assert np.bincount(rows[:, 0]).tolist() == [17, 16, 17, 17, 16, 17]  # 100 pixels in six cells


def test_draw_heat__bright_where_the_weight_is():
    weights, allowed = np.zeros((4, 4)), np.zeros((4, 4), bool)
    weights[1, 2], allowed[1, 1:3] = 1.0, True
    picture = draw_heat(np.full((32, 32, 3), 120, np.uint8), weights, allowed, (1, 1)).astype(int)
    cell = picture.shape[0] // 4
    center = picture[cell // 2 :: cell, cell // 2 :: cell].sum(-1)
    assert center.argmax() == 1 * 4 + 2 and (np.sort(center.ravel())[-2] < 0.6 * center.max())
    edge = picture[cell + cell // 2, cell - 1 : cell + 1]
    assert edge.max() > 200 and edge.min() < 120  # the line around what may be looked at


def test_draw_points__in_the_colour_of_their_level():
    locations = np.full((1, 3, 1, 2), -50.0)  # two of the levels look beyond the picture
    locations[0, 1] = (24, 8)
    weights = np.array([[[0.25], [0.5], [0.25]]])
    picture = draw_points(np.zeros((32, 32, 3), np.uint8), (4, 28), locations, weights, ('1/32', '1/16', '1/8'))
    scale = picture.shape[0] / 32
    assert picture[round(8 * scale), round(24 * scale)].tolist() == list(LEVEL_COLORS[1])
    assert picture[round(28 * scale), round(4 * scale)].tolist() == [255, 255, 255]
    drawn = (picture[: round(26 * scale)] == LEVEL_COLORS[0]).all(-1)
    assert not drawn.any()


def test_draw_points__the_small_ones_on_top_and_shares_of_the_levels(monkeypatch):
    captions = []
    monkeypatch.setattr(attention, '_with_caption', lambda canvas, parts: captions.append(parts) or canvas)
    locations, weights = np.full((2, 3, 1, 2), 16.0), np.array([[[0.1], [0.6], [0.3]], [[0.1], [0.8], [0.1]]])
    picture = draw_points(np.zeros((32, 32, 3), np.uint8), (2, 2), locations, weights, ('1/32', '1/16', '1/8'))
    assert tuple(picture[240, 240].tolist()) in (LEVEL_COLORS[0], LEVEL_COLORS[2])
    assert [text for text, _ in captions[0]] == ['1/32 10%', '1/16 70%', '1/8 20%']


def test_segment_queries__by_score_times_mask():
    classes = torch.tensor([[4.0, 0.0, 0.0], [1.2, 0.0, 0.0]])  # 0.96 and 0.62 sure of class 0
    masks = torch.stack([torch.full((2, 2), 1.0), torch.full((2, 2), 3.0)])  # 0.73 and 0.95
    photo = SimpleNamespace(
        class_logits={'panoptic': classes},
        mask_logits={'panoptic': masks},
        post_process=SimpleNamespace(test_cfg=SimpleNamespace(object_mask_thr=0.3)),
        size=ImageSize((8, 8), (8, 8), (8, 8)),
    )
    segment = PanopticSegment(0, 0, 'disc', True, 0.9)
    prediction = SimpleNamespace(panoptic=Panoptic(np.zeros((8, 8), np.int32), (segment,)))
    assert segment_queries(photo, prediction, 'panoptic') == {0: 0}


@pytest.fixture
def drawn_pages(monkeypatch):
    """Titles of the rows of each page, and position and locations of each picture of points, as the tool draws them."""
    titles, points, grid = [], [], panel.grid
    monkeypatch.setattr(panel, 'grid', lambda rows, height: titles.append(list(rows)) or grid(rows, height))
    monkeypatch.setattr(
        attention,
        'draw_points',
        lambda image, position, locations, *rest: points.append((position, locations)) or image,
    )
    return SimpleNamespace(titles=titles, points=points)


def test_tool__points_are_in_pixels_of_the_photo(call_tool, photo, tmp_path, monkeypatch, drawn_pages):
    """Where every position looks at itself, the points are where the query was asked for."""

    def at_itself(look, tokens):
        centers = look.reference[list(tokens), None, None, None]
        return centers.expand(-1, 4, 3, 4, -1), torch.full((len(tokens), 4, 3, 4), 1 / 12)

    monkeypatch.setattr(DeformableAttention, 'points', at_itself)
    cv2.imwrite(str(tmp_path / 'wide.png'), cv2.resize(photo, (97, 72)))  # the network sees a fifth of padding
    common = (tmp_path / 'wide.png', '--model', SHIPPED, '--device', 'cpu')
    for place in ((90, 60), (5, 10), (50, 70)):
        drawn_pages.points.clear()
        assert call_tool(TOOL, *common, '--at', *place) == 0
        for position, locations in drawn_pages.points:
            assert position == place and np.abs(locations - place).max() < 4  # cells of 8 x 72 / 96 pixels
        assert len(drawn_pages.points) == 2


def test_tool__largest_segment_first_and_the_token_by_name(call_tool, shapes, seen, shipped, photo, drawn_pages):
    common = (TOOL, shapes.photos[0], '--model', SHIPPED, '--device', 'cpu')
    assert call_tool(*common, '--queries', 3, 19) == 0
    assert drawn_pages.titles[0] == drawn_pages.titles[1] == ['query 3', 'query 19 (token)']
    assert call_tool(*common) == 0
    (logits,) = shipped.logits([shipped.prepare(photo)], ['panoptic'])
    found = segment_queries(logits, logits.predict('panoptic'), 'panoptic').values()
    masks = resize_masks(logits.mask_logits['panoptic'][list(found)], logits.size) >= 0
    order = torch.argsort(-masks.sum((1, 2)), stable=True).tolist()
    expected = [list(found)[k] for k in order]
    assert [int(title.split()[1]) for title in drawn_pages.titles[2]] == expected != list(found)


def test_tool__draws_segments_pixels_and_queries(call_tool, shapes, tmp_path, capsys):
    common = (TOOL, shapes.photos[0], '--model', SHIPPED, '--device', 'cpu', '--height', 100)
    assert call_tool(*common, '--out-dir', 'all') == 0
    assert call_tool(*common, '--out-dir', 'one', '--at', 48, 90) == 0
    assert call_tool(*common, '--out-dir', 'two', '--queries', 3, 19, '--token', 'instance') == 0
    for kind in ('masked', 'points'):
        all_of, one, two = (cv2.imread(str(tmp_path / name / f'000001_{kind}.png')) for name in ('all', 'one', 'two'))
        assert one.shape[0] < two.shape[0] < all_of.shape[0] and one.shape[1] == two.shape[1] == all_of.shape[1]
    assert capsys.readouterr().out.count('.png') == 6


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (('--queries', '20'), '--queries are 0 to 19 for this model, not 20'),
        (('--at', '96', '0'), '(96, 0) is outside the photo of 96 x 96 pixels'),
    ],
)
def test_tool__a_mistake_is_one_sentence(call_tool, shapes, tmp_path, capsys, arguments, sentence):
    assert call_tool(TOOL, shapes.photos[0], '--model', SHIPPED, '--out-dir', 'none', *arguments) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count('\n') == 1 and not (tmp_path / 'none').exists()


def test_tool__no_photo(call_tool, capsys):
    assert call_tool(TOOL, 'absent.jpg', '--model', SHIPPED) == 2
    assert 'absent.jpg does not exist' in capsys.readouterr().err
