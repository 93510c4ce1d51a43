"""The baseline is Mask2Former: the head gives the numbers of the port in transformers, sizes are the paper's."""

import re

import pytest
import torch
from mmengine.registry import MODELS

from mmseg_oneformer.zoo.configs import read_config

transformers = pytest.importorskip('transformers')
CLASSES, QUERIES, WIDTHS = 5, 20, (96, 192, 384, 768)
SWIN_TAIL = 2 * 1536
"""The port keeps Swin's last norm, which nothing reads: weight and bias of Swin-L's 1536 channels."""

RULES = (
    (r'model\.pixel_level_module\.decoder', 'pixel_decoder'),
    (
        r'model\.transformer_module\.decoder\.mask_predictor\.mask_embedder\.(\d)\.0',
        lambda m: f'mask_embed.{2 * int(m[1])}',
    ),
    (r'model\.transformer_module\.decoder\.layernorm', 'transformer_decoder.post_norm'),
    (r'model\.transformer_module\.decoder', 'transformer_decoder'),
    (r'model\.transformer_module\.', ''),
    (r'class_predictor', 'cls_embed'),
    (r'queries_embedder', 'query_embed'),
    (r'queries_features', 'query_feat'),
    (r'pixel_decoder\.level_embed$', 'pixel_decoder.level_encoding.weight'),
    (r'input_projections\.(\d)\.0', r'input_convs.\1.conv'),
    (r'input_projections\.(\d)\.1', r'input_convs.\1.gn'),
    (r'adapter_1\.0', 'lateral_convs.0.conv'),
    (r'adapter_1\.1', 'lateral_convs.0.gn'),
    (r'layer_1\.0', 'output_convs.0.conv'),
    (r'layer_1\.1', 'output_convs.0.gn'),
    (r'mask_projection', 'mask_feature'),
    (r'fc1', 'ffn.layers.0.0'),
    (r'fc2', 'ffn.layers.1'),
    # In the pixel decoder attention comes first, in the decoder the second.
    (r'(pixel_decoder.*)self_attn_layer_norm', r'\1norms.0'),
    (r'(pixel_decoder.*)final_layer_norm', r'\1norms.1'),
    (r'cross_attn_layer_norm', 'norms.0'),
    (r'self_attn_layer_norm', 'norms.1'),
    (r'final_layer_norm', 'norms.2'),
    (r'(transformer_decoder.*(?:cross|self)_attn)\.', r'\1.attn.'),
    (r'[qkv]_proj\.', 'in_proj_'),
)


def convert(theirs):
    """Their head's state dict under mmdet's names; query, key and value matrices become one."""
    ours = {}
    for key in sorted(theirs, key=lambda key: re.sub('([qkv])_proj', lambda m: f'{"qkv".index(m[1])}', key)):
        if 'pixel_level_module.encoder' in key or key.startswith('criterion'):
            continue
        new = key
        for pattern, ours_name in RULES:
            new = re.sub(pattern, ours_name, new)
        joined = re.search(r'\.[qkv]_proj\.', key) and new in ours
        assert joined or new not in ours, key
        ours[new] = torch.cat((ours[new], theirs[key])) if joined else theirs[key]
    return ours


BASELINES = {
    'r50': 'mask2former_r50_8xb2-160k_ade20k-512x512_joint',
    'swin-l': 'mask2former_swin-l_8xb2-160k_ade20k-640x640_joint',
}


def baseline(name, **head):
    model = read_config(BASELINES[name]).model
    model.update(num_classes=CLASSES, thing_ids=(0,))
    model.panoptic_head.update(head)
    return model


def port(queries, classes, **swin):
    config = transformers.SwinConfig(window_size=7, out_features=[f'stage{i}' for i in (1, 2, 3, 4)], **swin)
    return transformers.Mask2FormerForUniversalSegmentation(
        transformers.Mask2FormerConfig(backbone_config=config, num_queries=queries, num_labels=classes)
    )


@torch.no_grad()
def test_head__equals_transformers():
    """All ten predictions from the same four feature maps, parameters far from where they start.

    In float64, but mmdet makes positions and reference points in float32, so differences are not those of float64.
    """
    torch.manual_seed(0)
    theirs = port(QUERIES, CLASSES, embed_dim=96, depths=[1, 1, 1, 1], num_heads=[3, 6, 12, 24]).double().eval()
    for name, parameter in theirs.named_parameters():
        if 'queries' in name or 'level_embed' in name:
            parameter.normal_()
        elif parameter.dim() > 1:  # attention adds little, lest all queries become one
            gain = 0.4 if 'out_proj' in name else 1.4
            parameter.copy_(gain * torch.randn_like(parameter) / parameter[0].numel() ** 0.5)
        elif 'norm' not in name:
            parameter.add_(0.1 * torch.randn_like(parameter))
    head = MODELS.build(baseline('r50', in_channels=list(WIDTHS), num_queries=QUERIES)).panoptic_head.double().eval()
    head.load_state_dict(convert(theirs.state_dict()))

    features = [torch.randn(1, c, 64 // s, 96 // s, dtype=torch.float64) for c, s in zip(WIDTHS, (1, 2, 4, 8))]
    classes, masks = head(features, None)
    pixels = theirs.model.pixel_level_module.decoder(features)
    decoded = theirs.model.transformer_module(pixels.multi_scale_features, pixels.mask_features)
    their_classes = [theirs.class_predictor(hidden.transpose(0, 1)) for hidden in decoded.intermediate_hidden_states]
    assert len(masks) == len(their_classes) == len(decoded.masks_queries_logits) == 10
    pairs = list(zip((*classes, *masks), (*their_classes, *decoded.masks_queries_logits)))
    errors = [float((ours - expected).abs().max() / expected.abs().max()) for ours, expected in pairs]
    print(f'largest relative difference of ten class and mask logits: {max(errors):.1e}')
    assert max(errors) < 1e-5
    for mask in masks[:-1]:  # positions open to some queries and closed to others, or no attention mask is tested
        inside = (mask > 0).double().mean(1)
        assert ((inside > 0) & (inside < 1)).double().mean() > 0.1


@pytest.fixture
def unset(monkeypatch):
    """Leave out torch's random numbers, which take longer than building."""
    for name in ('kaiming_uniform_', 'kaiming_normal_', 'xavier_uniform_', 'uniform_', 'normal_', 'trunc_normal_'):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)


def count(model):
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


@pytest.mark.parametrize(('queries', 'millions', 'paper'), [(100, 215.489, 215), (200, 215.540, 216)])
def test_parameters__swin_l(unset, queries, millions, paper):
    """The paper's 215M have 100 queries (Tables 1 and 2, semantic), its 216M have 200: so has Mask2Former-Joint."""
    model = baseline('swin-l', num_queries=queries) | {'num_classes': 150}
    found = count(MODELS.build(model))
    with torch.device('meta'):
        swin = dict(embed_dim=192, depths=[2, 2, 18, 2], num_heads=[6, 12, 24, 48])
        theirs = transformers.Mask2FormerForUniversalSegmentation(
            transformers.Mask2FormerConfig(
                backbone_config=transformers.SwinConfig(
                    image_size=384, window_size=12, out_features=[f'stage{i}' for i in (1, 2, 3, 4)], **swin
                ),
                num_queries=queries,
                num_labels=150,
            )
        )
    assert found == count(theirs) - SWIN_TAIL
    assert (round(found / 1e6, 3), round(found / 1e6)) == (millions, paper)


def test_parameters__resnet_50(unset):
    """44M in the paper's Table IV; ResNet-50 without frozen norms and classifier has 23 454 912."""
    model = MODELS.build(baseline('r50') | {'num_classes': 150})
    assert count(model.backbone) == 23_454_912
    assert round(count(model) / 1e6) == 44
