"""Answers from several views, against hand-made cases and the plain sum."""

import pytest
import torch
import torch.nn.functional as F

from mmseg_oneformer.models.postprocess import ImageSize, resize_masks
from mmseg_oneformer.models.query_merging import MergedQueries
from mmseg_oneformer.models.test_time_views import TestTimeViews, _add_scores

LEADING = ImageSize((64, 64), (60, 48), (120, 96))
LARGER = ImageSize((96, 96), (90, 72), (120, 96))


def block_logits(size, blocks, mirrored=False):
    """Mask logits (N, h, w) of rectangles (top, left, bottom, right) in parts of the photo; 6 inside, -6 outside."""
    height, width = size.image
    masks = torch.full((len(blocks), *size.padded), -6.0)
    for mask, (top, left, bottom, right) in zip(masks, blocks):
        mask[round(top * height) : round(bottom * height), round(left * width) : round(right * width)] = 6.0
    if mirrored:
        masks[:, :, :width] = masks[:, :, :width].flip(-1)
    return F.avg_pool2d(masks[None], 4)[0]


def class_logits(*probs):
    return torch.tensor(probs).log()


UPPER, LOWER, LEFT = (0, 0, 0.5, 1), (8 / 15, 0, 1, 1), (0, 0, 1, 1 / 3)
SURE_A, SURE_B, NOTHING = (0.9, 0.05, 0.05), (0.05, 0.9, 0.05), (0.01, 0.01, 0.98)


def test_merged_queries__one_view_is_itself():
    logits = class_logits(SURE_A, SURE_B), block_logits(LEADING, [UPPER, LOWER])
    merged = MergedQueries(*logits, LEADING)
    assert torch.equal(merged.mask_logits, logits[1])
    torch.testing.assert_close(merged.class_logits.softmax(-1), logits[0].softmax(-1))


@pytest.mark.parametrize('mirrored', [False, True])
def test_merged_queries__other_order_size_and_side(mirrored):
    """The second view has the queries in another order and is larger, maybe mirrored; LEFT is not symmetric."""
    merged = MergedQueries(class_logits(SURE_A, SURE_B), block_logits(LEADING, [LEFT, LOWER]), LEADING)
    merged.add(
        class_logits((0.1, 0.6, 0.3), NOTHING, (0.7, 0.2, 0.1)),
        block_logits(LARGER, [LOWER, LOWER, LEFT], mirrored),
        LARGER,
        mirrored,
    )
    expected = torch.tensor([[0.8, 0.125, 0.075], [0.075, 0.75, 0.175]])
    torch.testing.assert_close(merged.class_logits.softmax(-1), expected)
    alone = block_logits(LEADING, [LEFT, LOWER])
    inside = (merged.mask_logits > 0) == (alone > 0)
    assert inside[:, :15, :12].float().mean() > 0.97  # but for pixels on the border of the rectangles


def test_merged_queries__a_view_without_the_object_votes_against_it():
    merged = MergedQueries(class_logits(SURE_A, SURE_B), block_logits(LEADING, [UPPER, LOWER]), LEADING)
    merged.add(class_logits(SURE_A, NOTHING), block_logits(LEADING, [UPPER, (0, 0, 0.1, 0.1)]), LEADING, False)
    probs = merged.class_logits.softmax(-1)
    torch.testing.assert_close(probs[0], torch.tensor(SURE_A))
    torch.testing.assert_close(probs[1], torch.tensor([0.025, 0.45, 0.525]))
    assert torch.equal(merged.mask_logits[1], block_logits(LEADING, [LOWER])[0])


def test_merged_queries__same_place_but_other_class_stays_apart():
    """Of two candidates at one place the one that agrees in class is taken, though its mask fits worse."""
    merged = MergedQueries(class_logits(SURE_A), block_logits(LEADING, [UPPER]), LEADING)
    merged.add(class_logits(SURE_B, SURE_A), block_logits(LEADING, [UPPER, (0, 0, 0.6, 1)]), LEADING, False)
    torch.testing.assert_close(merged.class_logits.softmax(-1)[0], torch.tensor(SURE_A))


def test_merged_queries__empty_masks_match_nothing():
    empty = torch.full((1, 16, 16), -6.0)
    merged = MergedQueries(class_logits(SURE_A), empty, LEADING)
    merged.add(class_logits(SURE_A), empty, LEADING, False)
    assert merged.class_logits.softmax(-1)[0, 2] > 0.5 and torch.equal(merged.mask_logits, empty)


def test_add_scores__mean_of_the_plain_maps():
    generator = torch.Generator().manual_seed(0)
    total, expected = None, torch.zeros(3, 120, 96)
    for size, mirrored in ((LEADING, False), (LARGER, True), (LEADING, True)):
        masks = torch.randn(5, size.padded[0] // 4, size.padded[1] // 4, generator=generator)
        logits = torch.randn(5, 4, generator=generator)
        total = _add_scores(total, logits, masks, size, mirrored)
        plain = torch.einsum('nk,nhw->khw', logits.softmax(-1)[:, :-1], resize_masks(masks, size).sigmoid())
        expected += plain.flip(2) if mirrored else plain
    torch.testing.assert_close(total, expected, rtol=1e-4, atol=1e-5)


def test_views__from_the_original_photo():
    """A thin line survives in the view at full size, which it would not if the photo were made small first."""
    from PIL import Image

    views = TestTimeViews.__new__(TestTimeViews)
    torch.nn.Module.__init__(views)
    views.sides, views.max_size, views.flip = [64, 32], 1000, True
    photo = torch.zeros(3, 64, 100, dtype=torch.uint8)
    photo[:, :, 7] = 255
    made = list(views._views(photo))
    assert [(tuple(view.shape[1:]), mirrored) for view, mirrored in made] == [
        *(((64, 100), False), ((64, 100), True), ((32, 50), False), ((32, 50), True))
    ]
    assert torch.equal(made[0][0], photo) and torch.equal(made[1][0], photo.flip(-1))
    small = Image.fromarray(photo.permute(1, 2, 0).numpy()).resize((50, 32), Image.Resampling.BILINEAR)
    assert torch.equal(made[2][0].permute(1, 2, 0), torch.tensor(list(small.getdata())).reshape(32, 50, 3).byte())
