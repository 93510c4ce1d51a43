"""The criterion against a plain form: full masks of every query, a loop over layers, images and pairs."""

import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch.testing import assert_close

from mmseg_oneformer.models.losses import OneFormerCriterion, Targets, matcher
from mmseg_oneformer.models.losses.matcher import CostWeights, point_matcher
from mmseg_oneformer.models.masked_decoder import Predictions

K, N, C, P = 4, 6, 8, 40
DOUBLE = {'class_weight': 4, 'mask_weight': 10, 'dice_weight': 10}
DOUBLE_CONTRASTIVE = {'type': 'ContrastiveLoss', 'weight': 1}
CLASSIFICATION = {'type': 'QueryClassification'}


def make_case(num_targets, layers=3, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_()

    batch = len(num_targets)
    output = Predictions(
        randn(layers, batch, 1, N, K + 1), randn(layers, batch, 1, N, C), randn(batch, C, 5, 7), randn(batch, 1, N, C)
    )
    index_map = torch.full((batch, 20, 28), -1, dtype=torch.int16)
    labels = []
    for b, count in enumerate(num_targets):
        if count:
            index_map[b] = torch.randint(-1, count, (20, 28), generator=generator)
        labels.append(torch.randint(K, (count,), generator=generator))
    return output, Targets(index_map, labels, ['panoptic'] * batch), randn(batch, N, C)


class RecordedDraw:
    """Random points that are remembered."""

    def __init__(self, seed=5):
        self.generator, self.draws = torch.Generator().manual_seed(seed), []

    def __call__(self, rows, points, device):
        self.draws.append(torch.rand(rows, points, 2, generator=self.generator))
        return self.draws[-1]


def read(mask, points):
    """Values of mask (h, w) at points (P, 2)."""
    grid = (2 * points - 1).to(mask.dtype)[None, None]
    return F.grid_sample(mask[None, None], grid, align_corners=False)[0, 0, 0]


def dice_loss(x, t):
    return 1 - (2 * (x.sigmoid() * t).sum() + 1) / (x.sigmoid().sum() + t.sum() + 1)


def plain_losses(output, targets, texts, draws):
    """Weighted losses by name, as REF-style code with default weights would say them."""
    draws = iter(draws)
    layers, batch = output.class_logits.shape[:2]
    dtype = output.class_logits.dtype
    masks = [
        (targets.index_map[b] == torch.arange(len(targets.labels[b]))[:, None, None]).to(dtype) for b in range(batch)
    ]
    logits = torch.einsum('lbtnc,bchw->lbtnhw', output.mask_embed, output.mask_features)[:, :, 0]
    classes = output.class_logits[:, :, 0]
    points = next(draws)
    pairs = {}
    for b in range(batch):
        for layer in range(layers):
            cost = torch.zeros(N, len(masks[b]))
            for n in range(N):
                for m, mask in enumerate(masks[b]):
                    x, t = read(logits[layer, b, n], points[b]), read(mask, points[b])
                    cost[n, m] = 5 * F.binary_cross_entropy_with_logits(x, t) + 5 * dice_loss(x, t)
                    cost[n, m] -= 2 * classes[layer, b, n].softmax(0)[targets.labels[b][m]]
            pairs[layer, b] = list(zip(*linear_sum_assignment(cost.detach()), strict=True))
    total = max(sum(map(len, masks)), 1)
    weight = torch.ones(K + 1, dtype=dtype)
    weight[K] = 0.1
    sums = torch.zeros(2, layers, dtype=dtype)
    for b in range(batch):
        if not len(masks[b]):
            continue
        candidates, uniform = next(draws), next(draws)
        row = 0
        for layer in range(layers):
            for n, m in pairs[layer, b]:
                mask = logits[layer, b, n]
                undecided = read(mask, candidates[row]).abs().argsort()[: int(0.75 * P)]
                chosen = torch.cat((candidates[row][undecided], uniform[row]))
                x, t = read(mask, chosen), read(masks[b][m], chosen)
                sums[0, layer] += 5 * F.binary_cross_entropy_with_logits(x, t) / total
                sums[1, layer] += 5 * dice_loss(x, t) / total
                row += 1
        assert row == len(candidates) == len(uniform)
    losses = {}
    for layer in range(layers):
        expected = torch.full((batch, N), K)
        for b in range(batch):
            for n, m in pairs[layer, b]:
                expected[b, n] = targets.labels[b][m]
        prefix = '' if layer == layers - 1 else f'd{layer}.'
        losses[f'{prefix}loss_cls'] = 2 * F.cross_entropy(classes[layer].flatten(0, 1), expected.flatten(), weight)
        losses[f'{prefix}loss_mask'], losses[f'{prefix}loss_dice'] = sums[:, layer]
    x, y = F.normalize(output.queries.flatten(1), dim=1), F.normalize(texts.flatten(1), dim=1)
    similarity = x @ y.T / 0.07
    labels = torch.arange(batch)
    losses['loss_contrastive'] = 0.5 * (F.cross_entropy(similarity, labels) + F.cross_entropy(similarity.T, labels))
    return losses


@pytest.mark.parametrize(
    'num_targets', [(3, 2), (0, 4, 1), (9,), (0, 0)], ids=['usual', 'one empty', 'more than queries', 'all empty']
)
@pytest.mark.parametrize(
    ('dtype', 'loss_bound', 'grad_bound'), [(torch.float64, 1e-6, 1e-6), (torch.float32, 1e-5, 1e-4)]
)
def test_criterion__equals_plain_form(num_targets, dtype, loss_bound, grad_bound):
    draw = RecordedDraw()
    output, targets, texts = make_case(num_targets, dtype=dtype)
    criterion = OneFormerCriterion(num_classes=K, num_points=P)
    losses = criterion(output, targets, texts, draw)
    expected = plain_losses(output, targets, texts, draw.draws)

    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        assert_close(
            losses[name], value, rtol=loss_bound, atol=loss_bound, msg=lambda text, name=name: f'{name}: {text}'
        )
    leaves = (*output, texts)
    ours, plain = (
        torch.autograd.grad(sum(named.values()), leaves, allow_unused=True, retain_graph=True)
        for named in (losses, expected)
    )
    for got, wanted in zip(ours, plain, strict=True):
        assert got is not None  # DDP needs every parameter touched, also without a target
        wanted = torch.zeros_like(got) if wanted is None else wanted
        assert (got - wanted).abs().max() <= grad_bound * wanted.abs().max()


def test_criterion__names_and_number_of_losses(golden):
    output, targets, texts = make_case((2, 1), layers=golden['counts']['predictions'])
    losses = OneFormerCriterion(num_classes=K, num_points=P)(output, targets, texts)
    assert len(losses) == golden['counts']['losses_per_step']
    parts = [
        f'{prefix}loss_{name}' for prefix in ('', *(f'd{i}.' for i in range(9))) for name in ('cls', 'mask', 'dice')
    ]
    assert set(losses) == {*parts, 'loss_contrastive'}


def test_match__in_chunks_of_layers(monkeypatch):
    output, targets, _ = make_case((3, 2), layers=5)
    layers = output.class_logits[:, :, 0], output.mask_embed[:, :, 0]
    batch = output.mask_features, targets.index_map, targets.labels, CostWeights(), P
    whole = point_matcher(*batch, RecordedDraw())(*layers)
    monkeypatch.setattr(matcher, 'CHUNK', 2 * N * P)
    for got, wanted in zip(point_matcher(*batch, RecordedDraw())(*layers), whole, strict=True):
        assert torch.equal(got, wanted)


def test_criterion__all_layers_use_the_same_matching_points():
    draw = RecordedDraw()
    output, targets, texts = make_case((2, 0, 1))
    OneFormerCriterion(num_classes=K, num_points=P)(output, targets, texts, draw)
    uniform = P - int(0.75 * P)
    assert [tuple(points.shape[:2]) for points in draw.draws] == [
        (3, P),
        (6, 3 * P),
        (6, uniform),
        (3, 3 * P),
        (3, uniform),
    ]


def test_criterion__bad_query_does_not_raise():
    output, targets, texts = make_case((3, 2))
    with torch.no_grad():
        output.class_logits[:, :, :, 2] = float('nan')
        output.mask_embed[:, :, :, 2] = float('inf')
    OneFormerCriterion(num_classes=K, num_points=P)(output, targets, texts)


def test_criterion__weights_scale_losses():
    output, targets, texts = make_case((3, 2))
    plain = OneFormerCriterion(num_classes=K, num_points=P)(output, targets, texts, RecordedDraw())
    # all matching costs are doubled together, so the matches stay
    criterion = OneFormerCriterion(num_classes=K, num_points=P, **DOUBLE, auxiliary=[DOUBLE_CONTRASTIVE])
    double = criterion(output, targets, texts, RecordedDraw())
    for name, value in plain.items():
        assert_close(double[name], 2 * value)


def test_criterion__contrastive_needs_texts():
    output, targets, _ = make_case((1,))
    with pytest.raises(ValueError, match='text_mapper'):
        OneFormerCriterion(num_classes=K, num_points=P)(output, targets)


def test_criterion__query_classification_is_matched_like_a_layer():
    """Table 5: a linear classifier on the queries before the decoder, at the costs of class and first masks."""
    torch.manual_seed(0)
    output, targets, _ = make_case((3, 2))
    criterion = OneFormerCriterion(num_classes=K, channels=C, num_points=P, auxiliary=[CLASSIFICATION]).double()
    draw = RecordedDraw()
    losses = criterion(output, targets, None, draw)
    logits = F.linear(output.queries, *criterion.query_classifier.parameters())[None]
    extra = Predictions(logits, output.mask_embed[:1], output.mask_features, output.queries)
    plain = OneFormerCriterion(num_classes=K, num_points=P, auxiliary=[])
    expected = plain(extra, targets, None, lambda *shape: draw.draws[0] if shape[1] == P else torch.rand(*shape[:2], 2))
    assert_close(losses['loss_query_cls'], 0.5 * expected['loss_cls'])
    assert 'loss_contrastive' not in losses
    assert len(losses) == 3 * 3 + 1
    gradient = torch.autograd.grad(losses['loss_query_cls'], (output.mask_embed, output.queries), allow_unused=True)
    assert gradient[0] is None or not gradient[0].any()
    assert gradient[1].any()


class FirstTask(torch.nn.Module):
    """A term of a stranger: how far the first class's logits are from the number of panoptic images."""

    name = 'first_task'

    def __init__(self, num_classes, weight=1.0):
        super().__init__()
        self.num_classes, self.loss_weight = num_classes, weight
        self.offset = torch.nn.Parameter(torch.zeros(()))

    def forward(self, inputs):
        panoptic = sum(task == 'panoptic' for task in inputs.targets.tasks)
        value = (inputs.class_logits[-1, ..., 0].mean() + self.offset - panoptic).abs()
        return {'loss_first_task': self.loss_weight * value}


def test_auxiliary__a_term_of_ones_own():
    output, targets, _ = make_case((3, 2))
    criterion = OneFormerCriterion(num_classes=K, num_points=P, auxiliary=[{'type': FirstTask, 'weight': 2.0}])
    losses = criterion(output, targets, None)
    expected = 2 * (output.class_logits[-1, :, 0, :, 0].mean() - 2).abs()
    assert_close(losses['loss_first_task'], expected)
    assert criterion.first_task.num_classes == K and not criterion.reads_texts
    assert [*criterion.state_dict()] == ['first_task.offset']


def test_auxiliary__two_of_one_name():
    with pytest.raises(ValueError, match='called contrastive_loss'):
        OneFormerCriterion(num_classes=K, auxiliary=[{'type': 'ContrastiveLoss'}] * 2)


@pytest.mark.parametrize(
    ('old', 'remedy'),
    [
        ({'contrastive': None}, r'auxiliary=\[\]\)'),
        ({'contrastive': 'query'}, r"\[dict\(type='ContrastiveLoss', level='query', weight=0.5\)\]"),
        ({'contrastive_weight': 1.0}, r"\[dict\(type='ContrastiveLoss', level='image', weight=1.0\)\]"),
        (
            {'contrastive': 'classification', 'contrastive_weight': 0.2},
            r"contrastive and criterion.contrastive_weight .*\[dict\(type='QueryClassification', weight=0.4\)\]",
        ),
        ({'contrastiv': 'query'}, 'no option contrastiv'),
    ],
)
def test_criterion__options_of_earlier_versions_get_a_remedy(old, remedy):
    with pytest.raises(ValueError, match=remedy):
        OneFormerCriterion(num_classes=K, **old)
