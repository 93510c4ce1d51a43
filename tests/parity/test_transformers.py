"""The network equals an independent implementation on the same weights: OneFormer of Hugging Face's `transformers`."""

import re

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS

import mmseg_oneformer  # noqa: F401
from mmseg_oneformer.tasks import CONTEXT_LENGTH, PROMPT_TOKENS, TASKS

transformers = pytest.importorskip('transformers', reason='parity needs `transformers`, which [dev] installs')

CLASSES = QUERIES = 150
DEPTHS, HEADS = (2, 2, 6, 2), (3, 6, 12, 24)
SIZE = (96, 160)  # the stride-32 level is 3x5, smaller than a window of 7: padding and shifting take part

UNUSED = re.compile(r'criterion\.|model\.pixel_level_module\.encoder\.swin\.layernorm\.')
"""Their loss, and a norm of their Swin that only its classifier reads."""

PREFIXES = (
    (r'model\.pixel_level_module\.encoder\.hidden_states_norms\.stage(\d)', lambda m: f'backbone.norm{int(m[1]) - 1}'),
    (r'model\.pixel_level_module\.encoder\.swin\.embeddings\.patch_embeddings', 'backbone.patch_embed'),
    (r'model\.pixel_level_module\.encoder\.swin\.embeddings', 'backbone.patch_embed'),
    (r'model\.pixel_level_module\.encoder\.swin\.encoder\.layers', 'backbone.stages'),
    (r'model\.pixel_level_module\.decoder\.encoder', 'head.pixel_decoder'),
    (r'model\.pixel_level_module\.decoder', 'head.pixel_decoder'),
    (r'model\.task_encoder\.task_mlp', 'head.task_token.mlp'),
    (r'model\.transformer_module\.decoder\.query_transformer\.decoder', 'head.query_initializer'),
    (r'model\.transformer_module\.decoder\.query_input_projection', 'head.query_initializer.input_proj'),
    (r'model\.transformer_module\.queries_embedder', 'head.query_embed'),
    (r'model\.transformer_module\.decoder', 'head.decoder'),
    (r'model\.transformer_module', 'head.decoder'),
)
RENAMES = {
    'backbone': (
        (r'relative_position_bias\.relative_position_bias_table', 'relative_position_bias_table'),
        (r'\.attention\.[qkv]_proj\.', '.attn.w_msa.qkv.'),
        (r'\.attention\.o_proj\.', '.attn.w_msa.proj.'),
        (r'\.attention\.', '.attn.w_msa.'),
        (r'layernorm_before', 'norm1'),
        (r'layernorm_after', 'norm2'),
        (r'mlp\.fc1', 'ffn.layers.0.0'),
        (r'mlp\.fc2', 'ffn.layers.1'),
    ),
    'head.pixel_decoder': (
        (r'self_attn_layer_norm', 'norm1'),
        (r'final_layer_norm', 'norm2'),
        (r'\.fc(\d)\.', r'.ffn.linear\1.'),
        (r'input_projections', 'input_proj'),
        (r'mask_projection', 'mask_features'),
        (r'adapter_1', 'lateral'),
        (r'layer_1', 'output'),
    ),
    'head.task_token': ((r'layers\.(\d)\.0\.', r'layers.\1.'),),
    'head.query_initializer': (
        (r'multihead_attn', 'cross_attn'),
        (r'(layers\.\d)\.linear', r'\1.ffn.linear'),
    ),
    'head.decoder': (
        (r'decoder_norm', 'norm'),
        (r'mask_embed\.layers\.(\d)\.0\.', r'mask_embed.layers.\1.'),
        (r'(cross|self)_attn\.norm', r'\1_norm'),
        (r'ffn\.norm', 'ffn_norm'),
        (r'cross_attn\.multihead_attn', 'cross_attn'),
        (r'self_attn\.self_attn\.[qkv]_proj\.', 'self_attn.in_proj_'),
        (r'self_attn\.self_attn', 'self_attn'),
    ),
}


def our_key(key):
    for pattern, ours in PREFIXES:
        new, found = re.subn('^' + pattern + r'(?=\.)', ours, key)
        if found:
            break
    else:
        raise AssertionError(f'no rule for {key}')
    for part, rules in RENAMES.items():
        if new.startswith(part + '.'):
            for pattern, replacement in rules:
                new = re.sub(pattern, replacement, new)
    return new


def unfold_order(x):
    """Patch merging: they concatenate four pixels column by column, mmdet takes them channel by channel, row by row."""
    parts = x.unflatten(-1, (4, -1))[..., [0, 2, 1, 3], :]
    return parts.transpose(-1, -2).flatten(-2)


def convert(theirs):
    """Their state dict under our names; every key is used."""
    ours = {}
    for key in sorted(theirs, key=lambda key: re.sub('([qkv])_proj', lambda m: f'{"qkv".index(m[1])}', key)):
        value = theirs[key]
        if UNUSED.match(key):
            continue
        new = our_key(key)
        if '.downsample.' in key:
            value = unfold_order(value)
        if re.search(r'\.[qkv]_proj\.', key):
            ours[new] = torch.cat((ours[new], value)) if new in ours else value
        else:
            assert new not in ours, f'{key} and another key are both {new}'
            ours[new] = value
    return ours


def trained_like(model, seed):
    """Give every parameter a size it may have after training: far from the start, activations neither dead nor huge."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            if 'norm' in name and name.endswith('weight'):
                parameter.copy_(1 + 0.3 * noise)
            elif 'sampling_offsets.bias' in name:
                parameter.add_(0.5 * noise)
            elif parameter.dim() < 2:
                parameter.copy_(0.1 * noise)
            elif name.endswith(('level_embed', 'level_embed.weight', 'queries_embedder.weight')):
                parameter.copy_(noise)
            else:  # attention adds little, lest all queries become one
                gain = 0.4 if 'out_proj' in name else 1.4
                parameter.copy_(gain * noise / np.sqrt(parameter[0].numel()))


@pytest.fixture(scope='module')
def build():
    def make(dtype):
        torch.manual_seed(0)
        config = transformers.OneFormerConfig(
            backbone_config=transformers.SwinConfig(
                image_size=224,
                embed_dim=96,
                depths=list(DEPTHS),
                num_heads=list(HEADS),
                window_size=7,
                out_features=['stage1', 'stage2', 'stage3', 'stage4'],
            ),
            num_queries=QUERIES,
            num_labels=CLASSES,
            is_training=False,
        )
        theirs = transformers.OneFormerForUniversalSegmentation(config).eval()
        if dtype == torch.float64:
            theirs = theirs.to(dtype)
            trained_like(theirs, seed=1)
        ours = MODELS.build(
            dict(
                type='OneFormer',
                backbone=dict(
                    type='mmdet.SwinTransformer',
                    embed_dims=96,
                    depths=DEPTHS,
                    num_heads=HEADS,
                    window_size=7,
                    out_indices=(0, 1, 2, 3),
                ),
                head=dict(
                    num_classes=CLASSES, num_queries=QUERIES, pixel_decoder=dict(in_channels=(96, 192, 384, 768))
                ),
                thing_ids=(),
            )
        ).to(dtype)
        ours.eval()
        missing, left = ours.load_state_dict(convert(theirs.state_dict()), strict=False)
        assert not left
        assert all(key.endswith('relative_position_index') for key in missing)
        return theirs, ours

    return make


def predict_theirs(model, image):
    """Class (L, T, N, K+1) and mask logits (L, T, N, h, w), the tasks one after the other."""
    classes, masks = [], []
    for task in TASKS:
        ids = torch.zeros(1, CONTEXT_LENGTH, dtype=torch.int64)
        ids[0, : len(PROMPT_TOKENS[task])] = torch.tensor(PROMPT_TOKENS[task])
        out = model(pixel_values=image, task_inputs=ids, output_auxiliary_logits=True)
        layers = [*out.auxiliary_predictions, out]
        classes.append(torch.cat([layer['class_queries_logits'] for layer in layers]))
        masks.append(torch.cat([layer['masks_queries_logits'] for layer in layers]))
    return torch.stack(classes, 1), torch.stack(masks, 1)


def relative(ours, theirs):
    """Largest difference over largest value, of the worst prediction layer and task."""
    difference = (ours - theirs).abs().flatten(2).amax(2)
    return float((difference / theirs.abs().flatten(2).amax(2)).max())


@pytest.mark.parametrize(('dtype', 'bound'), [(torch.float64, 1e-8), (torch.float32, 1e-4)], ids=['trained', 'initial'])
@torch.no_grad()
def test_logits__equal_transformers(build, dtype, bound):
    theirs, ours = build(dtype)
    image = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(2), dtype=dtype)

    output = ours.head(ours.extract_feat(image), [TASKS], every_layer=True)
    masks = torch.stack([output.mask_logits(layer)[0] for layer in range(10)])
    their_classes, their_masks = predict_theirs(theirs, image)

    errors = relative(output.class_logits[:, 0], their_classes), relative(masks, their_masks)
    print(f'{dtype}: relative differences of class and mask logits {errors[0]:.1e}, {errors[1]:.1e}')
    assert len(their_classes) == 10
    assert max(errors) <= bound
    if dtype == torch.float64:  # the comparison says something only if masks, tokens and layers matter
        inside = (their_masks >= 0).double().flatten(3)  # (L, T, N, S)
        disagree = (inside.mean(2) - 0.5).abs() < 0.499  # positions open to some queries and closed to others
        assert disagree.double().mean(2).min() > 0.05
        assert 0.3 < inside.mean() < 0.9
        assert relative(their_masks[:, [0]], their_masks[:, [1]]) > 0.1
        assert relative(their_classes[1:], their_classes[:-1]) > 0.1


def test_unfold_order__equals_unfold():
    """The reordered weight on mmdet's order of pixels equals the original on theirs."""
    x = torch.randn(2, 5, 4, 6)
    weight = torch.randn(7, 20)
    corners = [x[:, :, row::2, column::2] for column in (0, 1) for row in (0, 1)]
    expected = torch.einsum('bchw,oc->bohw', torch.cat(corners, 1), weight).flatten(2)
    unfolded = torch.nn.functional.unfold(x, 2, stride=2)
    torch.testing.assert_close(torch.einsum('bcs,oc->bos', unfolded, unfold_order(weight)), expected)
