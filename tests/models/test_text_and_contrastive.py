"""Text branch and contrastive loss."""

import math

import pytest
import torch
from mmengine.registry import MODELS
from torch.testing import assert_close

from mmseg_oneformer.models.losses import ContrastiveLoss, contrastive
from mmseg_oneformer.models.text_mapper import TextList, tokenize
from mmseg_oneformer.tasks import CONTEXT_LENGTH


@pytest.fixture(scope='module')
def mapper():
    torch.manual_seed(0)
    return MODELS.build({'type': 'TextMapper', 'num_queries': 14, 'num_context': 4, 'channels': 32})


LISTS = [
    TextList(('a photo with a wall', 'a photo with a chest of drawers, bureau, dresser'), (2, 3), 'a panoptic photo'),
    TextList(('a photo with a wall',), (1,), 'a semantic photo'),
    TextList((), (), 'an instance photo'),
    TextList(('person', 'cat'), (7, 9), 'an instance photo'),  # more than fit
]


def test_text_list__fills_and_cuts():
    assert LISTS[1].expand(3) == ['a photo with a wall', 'a semantic photo', 'a semantic photo']
    assert LISTS[2].expand(2) == ['an instance photo'] * 2
    assert LISTS[3].expand(10) == ['person'] * 7 + ['cat'] * 3


@torch.no_grad()
def test_text_mapper__equals_encoding_every_slot_at_full_length(mapper):
    """open_clip's own forward over all B x (N - N_ctx) texts of 77 tokens is the plain form."""
    ids = torch.zeros(len(LISTS), 10, CONTEXT_LENGTH, dtype=torch.int64)
    for b, texts in enumerate(LISTS):
        for i, text in enumerate(texts.expand(10)):
            ids[b, i, : len(tokenize(text))] = torch.tensor(tokenize(text))
    plain = mapper.projector(mapper.encoder(ids.flatten(0, 1))).unflatten(0, (len(LISTS), 10))
    out = mapper(LISTS)
    assert out.shape == (4, 14, 32)
    assert_close(out[:, :10], plain, rtol=0, atol=1e-5)
    assert_close(out[:, 10:], mapper.context.weight.expand(4, -1, -1), rtol=0, atol=0)
    assert (plain.flatten(0, 1).std(0) > 1e-3).any()  # the texts differ, so the comparison says something


def test_text_mapper__context_can_be_off():
    mapper = MODELS.build({'type': 'TextMapper', 'num_queries': 3, 'num_context': 0, 'channels': 32, 'num_layers': 1})
    assert mapper.context is None
    assert mapper(LISTS).shape == (4, 3, 32)


@pytest.mark.parametrize('number', [-1, 14, 20])
def test_text_mapper__rejects_impossible_context(number):
    with pytest.raises(ValueError, match='num_context must be 0 to'):
        MODELS.build({'type': 'TextMapper', 'num_queries': 14, 'num_context': number})


def test_contrastive_loss__hand_case():
    """Two images; cosines 1, 0, 0, 0.6 and scale 2: both directions by hand."""
    loss = ContrastiveLoss(temperature=0.5)
    queries = torch.tensor([[[2.0, 0.0]], [[0.0, 3.0]]])
    texts = torch.tensor([[[5.0, 0.0]], [[0.8, 0.6]]])
    rows = [[2, 1.6], [0, 1.2]]  # scale * cosine of query i and text j

    def cross_entropy(logits, label):
        return math.log(sum(math.exp(x) for x in logits)) - logits[label]

    forth = sum(cross_entropy(rows[i], i) for i in range(2)) / 2
    back = sum(cross_entropy([rows[0][j], rows[1][j]], j) for j in range(2)) / 2
    assert_close(loss.compare(queries, texts).item(), forth + back)


def test_contrastive_loss__query_level_hand_case():
    """Every query against every text: one image with two orthogonal pairs is two rows."""
    loss = ContrastiveLoss('query', temperature=0.5)
    queries = texts = torch.tensor([[[4.0, 0.0], [0.0, 1.0]]])
    assert_close(loss.compare(queries, texts).item(), 2 * math.log(1 + math.exp(-2)))
    assert_close(loss.compare(queries, texts.flip(1)).item(), 2 * math.log(1 + math.exp(2)))


def test_contrastive_loss__one_image_is_zero_with_one_warning(monkeypatch):
    said = []
    monkeypatch.setattr(contrastive, 'print_log', lambda message, *_, **__: said.append(message))
    contrastive.warn_of_single_row.cache_clear()
    loss = ContrastiveLoss()
    queries, texts = torch.randn(1, 3, 4, requires_grad=True), torch.randn(1, 3, 4, requires_grad=True)
    value = loss.compare(queries, texts) + loss.compare(queries, texts)
    value.backward()
    assert value.item() == 0
    assert len(said) == 1
    assert 'global batch of 1' in said[0]
    for tensor in (queries, texts, loss.logit_scale):
        assert tensor.grad is not None
        assert not tensor.grad.any()


def test_contrastive_loss__scale_is_bounded():
    loss = ContrastiveLoss()
    with torch.no_grad():
        loss.logit_scale.fill_(9.0)
    queries, texts = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]), torch.tensor([[[0.0, 1.0]], [[1.0, 0.0]]])
    assert_close(loss.compare(queries, texts).item(), 200.0)


def test_contrastive_loss__rejects_unknown_level():
    with pytest.raises(ValueError, match="'image'"):
        ContrastiveLoss('pixel')
