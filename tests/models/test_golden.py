"""Numbers computed by the reference code, as inputs and outputs in ``tests/data/golden.json``."""

import math

import pytest
import torch
from mmengine.registry import MODELS
from torch.testing import assert_close

from mmseg_oneformer.models.layers import sine_position_encoding
from mmseg_oneformer.models.losses import OneFormerCriterion, Targets
from mmseg_oneformer.models.losses.contrastive import ContrastiveLoss
from mmseg_oneformer.models.losses.matcher import CostWeights, Matches, match, matching_cost, point_matcher
from mmseg_oneformer.models.losses.points import sample, sample_targets, uncertain_points
from mmseg_oneformer.models.losses.set_losses import SetLosses, class_loss, mask_cross_entropy, mask_dice
from mmseg_oneformer.models.masked_decoder import attention_mask
from mmseg_oneformer.models.ops.ms_deform_attn import MSDeformAttn, ms_deform_attn
from mmseg_oneformer.models.text_mapper import tokenize
from mmseg_oneformer.tasks import CONTEXT_LENGTH, FILLERS, PROMPT_TOKENS, TASKS

FP32 = {'rtol': 1e-5, 'atol': 1e-5}


def test_tokenize__golden(golden):
    for text, ids in golden['tokens']['items'].items():
        assert list(tokenize(text)) == ids


def test_tokenize__too_long_ends_with_end_token(golden):
    ids = tokenize('word ' * 200)
    truncation = golden['tokens']['truncation']
    assert len(ids) == CONTEXT_LENGTH
    assert (ids[0], ids[-1]) == (truncation['first'], truncation['last'])


@pytest.mark.parametrize('task', TASKS)
def test_prompt_tokens__equal_the_tokenizer(task, golden):
    assert (
        PROMPT_TOKENS[task]
        == tokenize(f'the task is {task}')
        == tuple(golden['tokens']['items'][f'The task is {task}'])
    )
    assert FILLERS[task] in golden['tokens']['items']


def test_sine_position_encoding__golden(golden):
    values = golden['position_embedding']
    like = torch.zeros(1)
    assert_close(sine_position_encoding((2, 3), 8, like), torch.tensor(values['num_feats4_map2x3']), **FP32)
    wide = sine_position_encoding((2, 3), 256, like)
    some = values['num_feats128_map2x3']
    assert_close(wide[some['channels']], torch.tensor(some['values']), **FP32)
    assert_close(wide.double().sum().item(), values['num_feats128_map2x3_sum'], rtol=1e-6, atol=0)


@pytest.mark.parametrize('case', range(7))
def test_contrastive_loss__golden(case, golden):
    expected = golden['contrastive']['cases'][case]
    queries = torch.tensor(expected['queries'], requires_grad=True)
    texts = torch.tensor(expected['texts'], requires_grad=True)
    loss = ContrastiveLoss()
    assert_close(loss.logit_scale.item(), golden['contrastive']['init_log_scale'], rtol=1e-7, atol=0)
    with torch.no_grad():
        loss.logit_scale.fill_(expected['log_scale'])
    value = loss.compare(queries, texts)
    value.backward()
    assert_close(value.item(), expected['loss_unweighted'], **FP32)
    for name, tensor in {'queries': queries, 'texts': texts, 'log_scale': loss.logit_scale}.items():
        if f'grad_{name}' in expected:
            assert_close(tensor.grad, torch.tensor(expected[f'grad_{name}']), rtol=1e-4, atol=1e-4)


def test_mask_losses__golden(golden):
    values = golden['point_losses']
    logits, labels = torch.tensor(values['logits']), torch.tensor(values['labels'])
    cross_entropy, dice = mask_cross_entropy(logits, labels), mask_dice(logits, labels)
    assert_close(cross_entropy, torch.tensor(values['per_mask_bce_mean']), **FP32)
    for num_masks in (1, 2):
        assert_close(cross_entropy.sum().item() / num_masks, values[f'loss_mask_num_masks_{num_masks}'], **FP32)
        assert_close(dice.sum().item() / num_masks, values[f'loss_dice_num_masks_{num_masks}'], **FP32)


def test_matching_cost__golden_pairs(golden):
    values = golden['point_losses']
    logits, labels = torch.tensor(values['logits'])[None], torch.tensor(values['labels'])
    classes = torch.zeros(1, 2, 3)
    for weights, name in ((CostWeights(0, 1, 0), 'bce'), (CostWeights(0, 0, 1), 'dice')):
        cost = matching_cost(classes, logits, torch.tensor([0, 1]), labels, weights)
        assert_close(cost[0], torch.tensor(values[f'pair_cost_{name}']), **FP32)


def test_class_loss__golden(golden):
    values = golden['class_loss']
    logits, expected = (
        torch.tensor(values['pred_logits']),
        torch.tensor(values['target_class_per_query (3 = no object)']),
    )
    image, query = (expected < values['K']).nonzero(as_tuple=True)
    labels = [expected[b][expected[b] < values['K']] for b in range(2)]
    target = torch.cat([torch.arange(len(part)) for part in labels])
    matches = Matches(image, torch.zeros_like(image), query, target)
    loss = class_loss(logits[None], labels, matches, values['no_object_weight'])
    assert_close(loss, torch.tensor([values['loss_ce_unweighted']]), **FP32)


@pytest.fixture
def toy_matching(golden):
    """Mask embeddings and features whose products are the golden masks, and the golden targets."""
    values = golden['matcher']
    masks = torch.tensor(values['pred_masks'])  # (N, h, w)
    embed = torch.eye(len(masks))[None, None]  # (L, B, N, C) with C = N
    index_map = torch.full((1, 4, 4), -1, dtype=torch.int16)
    for m, mask in enumerate(torch.tensor(values['gt_masks'])):
        index_map[0][mask == 1] = m
    return embed, masks[None], Targets(index_map, [torch.tensor(values['gt_labels'])], ['panoptic'])


def test_match__golden(golden, toy_matching):
    values = golden['matcher']
    embed, features, targets = toy_matching
    points = torch.tensor(values['points_xy'])[None]
    classes = torch.tensor(values['pred_logits'])[None, None]

    point_targets = sample_targets(targets.index_map[0], points, torch.arange(2))
    cost = matching_cost(
        classes[:, 0], sample(features, points), targets.labels[0], point_targets, CostWeights(2, 5, 5)
    )
    assert_close(cost[0], torch.tensor(values['cost']), **FP32)

    match_layers = point_matcher(
        features, targets.index_map, targets.labels, CostWeights(2, 5, 5), 6, lambda *_: points
    )
    for matches in (match([cost]), match_layers(classes, embed)):
        assert matches.query.tolist() == values['query_idx']
        assert matches.target.tolist() == values['target_idx']


def hand_out(draws):
    left = iter(draws)
    return lambda *_: next(left)


def test_mask_losses__golden_points(golden, toy_matching):
    values = golden['mask_loss']
    embed, features, targets = toy_matching
    query, target = torch.tensor(golden['matcher']['query_idx']), torch.tensor(golden['matcher']['target_idx'])
    draws = [torch.tensor(values['candidates_xy']), torch.tensor(values['random_xy'])]

    chosen = uncertain_points(features[0, query], 4, 3.0, 0.75, hand_out(draws))
    for row, expected in zip(chosen.tolist(), values['final_points_xy'], strict=True):  # in any order
        assert_close(torch.tensor(sorted(row)), torch.tensor(sorted(expected)), **FP32)

    set_losses = SetLosses(CostWeights(mask=1, dice=1), 0.1, num_points=4, oversample=3.0, importance=0.75)
    zero = torch.zeros_like(query)
    mask, dice = set_losses.mask_losses(
        embed,
        features,
        targets,
        Matches(zero, zero, query, target),
        torch.tensor(float(values['num_masks'])),
        hand_out(draws),
    )
    assert_close(mask.item(), values['loss_mask'], **FP32)
    assert_close(dice.item(), values['loss_dice'], **FP32)


def additive(blocked):
    return torch.where(blocked, -math.inf, 0.0)


def test_attention_mask__golden(golden):
    values = golden['attention_mask']
    embed = torch.tensor(values['queries'])[None, None, :, None]  # (B, T, N, C) with C = 1
    features = torch.tensor(values['feature_map'])[None, None]
    resized = torch.nn.functional.interpolate(features, size=(2, 2), mode='bilinear', align_corners=False).flatten(2)
    expected = torch.tensor(values['blocked[head][query][pixel]'], dtype=torch.bool)[0]
    assert torch.equal(attention_mask(embed, resized)[0], additive(expected))
    nowhere = -torch.ones(1, 1, 4)
    opened = torch.tensor(values['after_opening_full_rows'], dtype=torch.bool)
    assert torch.equal(attention_mask(embed, nowhere)[0], additive(opened))


def test_attention_mask__half_is_open(golden):
    """A probability of exactly 0.5 (logit 0) doesn't block, where the row has blocked and open positions."""
    assert golden['boundaries']['attention_mask_logit_0'] == 'not blocked'
    mask = attention_mask(torch.ones(1, 1, 1, 1), torch.tensor([[[0.0, 1.0, -1.0]]]))
    assert mask.flatten().tolist() == [0, 0, -math.inf]


def test_ms_deform_attn__golden(golden):
    values = golden['deform_core']
    out = ms_deform_attn(
        torch.tensor(values['value']),
        [(2, 2), (1, 1)],
        torch.tensor(values['locations']),
        torch.tensor(values['weights']),
    )
    assert_close(out, torch.tensor(values['out']), **FP32)


def test_ms_deform_attn__initial_directions_golden(golden):
    attention = MSDeformAttn(256, num_heads=8)
    attention.init_weights()
    bias = attention.sampling_offsets.bias.detach().view(8, 3, 4, 2)
    expected = torch.tensor(golden['deform_offset_bias_init']['values'])
    for level in range(3):
        assert_close(bias[:, level], expected, **FP32)


def test_text_encoder__quick_gelu_golden(golden):
    mapper = MODELS.build({'type': 'TextMapper', 'num_queries': 20})
    activation = mapper.encoder.transformer.resblocks[0].mlp.gelu
    values = golden['quick_gelu']
    assert_close(activation(torch.tensor(values['x'])), torch.tensor(values['y']), **FP32)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_counts__golden(golden):
    params = golden['counts']['params']
    build = MODELS.build
    assert count(build({'type': 'TaskToken'})) == params['task_mlp']
    assert count(build({'type': 'QueryInitializer'})) - (256 * 256 + 256) == params['class_transformer']
    for widths, name in (((256, 512, 1024, 2048), 'R50'), ((192, 384, 768, 1536), 'SwinL_widths')):
        decoder = build({'type': 'OneFormerPixelDecoder', 'in_channels': widths})
        assert count(decoder) == params[f'pixel_decoder_{name}']
    mapper = build({'type': 'TextMapper', 'num_queries': 150})
    assert count(mapper.encoder) == params['text_encoder']
    criterion = OneFormerCriterion(num_classes=150)
    assert count(mapper) + count(criterion) == params['training_only_total']
    points = golden['counts']['points']
    losses = criterion.set_losses
    assert losses.num_points == points['num']
    assert int(losses.num_points * losses.oversample) == points['oversampled']
    assert int(losses.num_points * losses.importance) == points['uncertain']
    assert len(build({'type': 'MaskedDecoder', 'num_classes': 2}).layers) == golden['counts']['decoder_layers']
