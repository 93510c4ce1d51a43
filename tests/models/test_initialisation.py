"""Weights before training and dropout, as in the reference code."""

import math

import pytest
import torch
from mmengine.registry import MODELS


@pytest.fixture(scope='module')
def parts():
    torch.manual_seed(0)
    decoder = MODELS.build({'type': 'OneFormerPixelDecoder', 'in_channels': (8, 16, 32, 64)})
    initializer = MODELS.build({'type': 'QueryInitializer'})
    masked = MODELS.build({'type': 'MaskedDecoder', 'num_classes': 5})
    for part in (decoder, initializer, masked):
        part.init_weights()
    return decoder, initializer, masked


def is_uniform(weight, bound):
    """Whether a matrix fills -bound..bound evenly."""
    spread = weight.std().item() / (bound / math.sqrt(3))
    return weight.abs().max() <= bound * 1.0001 and abs(spread - 1) < 0.1


def glorot(weight):
    return math.sqrt(6 / sum(weight.shape[:2]))


def test_init__glorot_in_transformers(parts):
    decoder, initializer, masked = parts
    matrices = [
        decoder.layers[0].ffn.linear1.weight,
        decoder.layers[0].self_attn.value_proj.weight,
        decoder.input_proj[2][0].weight,
        initializer.layers[1].cross_attn.in_proj_weight,
        initializer.layers[0].ffn.linear2.weight,
        masked.layers[8].self_attn.in_proj_weight,
        masked.layers[0].cross_attn.out_proj.weight,
        masked.layers[4].ffn.linear1.weight,
    ]
    assert all(is_uniform(weight, glorot(weight)) for weight in matrices)
    assert not masked.layers[0].cross_attn.in_proj_bias.any()
    assert not masked.layers[0].cross_attn.out_proj.bias.any()


def test_init__he_in_convolutions(parts):
    decoder, initializer, _ = parts
    for weight in (decoder.lateral[0].weight, decoder.output[0].weight, decoder.mask_features.weight):
        assert is_uniform(weight, math.sqrt(3 / weight[0].numel()))
    assert is_uniform(initializer.input_proj.weight, math.sqrt(3 / 256))
    assert not decoder.mask_features.bias.any()
    assert not initializer.input_proj.bias.any()


def test_init__deformable_attention_starts_with_directions(parts):
    """Glorot's rule, which comes first, must not reach the offsets."""
    for layer in parts[0].layers:
        attention = layer.self_attn
        for zero in (attention.sampling_offsets.weight, *attention.attention_weights.parameters()):
            assert not zero.any()
        assert attention.sampling_offsets.bias.abs().max() == 4


def test_init__heads_and_embeddings_are_torchs(parts):
    decoder, _, masked = parts
    assert is_uniform(masked.class_embed.weight, 1 / 16)
    assert is_uniform(masked.mask_embed.layers[0].weight, 1 / 16)
    for normal in (decoder.level_embed, masked.level_embed.weight):
        assert 0.8 < normal.std() < 1.2


def test_dropout__in_pixel_decoder_and_query_initializer_only(parts):
    rates = [{module.p for module in part.modules() if isinstance(module, torch.nn.Dropout)} for part in parts]
    assert rates == [{0.1}, {0.1}, set()]
    assert [part.layers[0].ffn.dropout for part in parts] == [0.1, 0.1, 0.0]
    assert parts[1].layers[0].cross_attn.dropout == 0.1
    assert parts[2].layers[0].cross_attn.dropout == 0.0
