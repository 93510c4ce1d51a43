"""The network equals an independent implementation on the same weights: OneFormer of Hugging Face's `transformers`."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS

from mmseg_oneformer import OneFormerInferencer
from mmseg_oneformer.checkpoints.conversion.convert import to_ours
from mmseg_oneformer.checkpoints.conversion.hub import BACKBONE, HEAD
from mmseg_oneformer.checkpoints.conversion.keys import KeyMap
from mmseg_oneformer.datasets.drawing import draw_scene
from mmseg_oneformer.models.backbones.swin import concatenation_order, unfold_order
from mmseg_oneformer.tasks import CONTEXT_LENGTH, PROMPT_TOKENS, TASKS

transformers = pytest.importorskip('transformers', reason='parity needs `transformers`, which [dev] installs')

CLASSES = QUERIES = 150
DEPTHS, HEADS = (2, 2, 6, 2), (3, 6, 12, 24)
SIZE = (96, 160)  # the stride-32 level is 3x5, smaller than a window of 7: padding and shifting take part


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
                backbone=dict(type='SwinBackbone', embed_dims=96, depths=DEPTHS, num_heads=HEADS, window_size=7),
                head=dict(
                    num_classes=CLASSES, num_queries=QUERIES, pixel_decoder=dict(in_channels=(96, 192, 384, 768))
                ),
                thing_ids=(),
            )
        ).to(dtype)
        ours.eval()
        ours.load_state_dict(to_ours(theirs.state_dict(), 'hf').state)
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


def differences(ours, theirs):
    """Largest difference over largest value, of each prediction layer and task."""
    return (ours - theirs).abs().flatten(2).amax(2) / theirs.abs().flatten(2).amax(2)


def relative(ours, theirs):
    """The worst of them."""
    return float(differences(ours, theirs).max())


def predict_both(build, dtype):
    """Class and mask logits of ours, then of theirs."""
    theirs, ours = build(dtype)
    image = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(2), dtype=dtype)
    output = ours.head(ours.extract_feat(image), [TASKS], every_layer=True)
    masks = torch.stack([output.mask_logits(layer)[0] for layer in range(10)])
    return output.class_logits[:, 0], masks, *predict_theirs(theirs, image)


@torch.no_grad()
def test_logits__equal_transformers(build):
    classes, masks, their_classes, their_masks = predict_both(build, torch.float64)
    assert len(their_classes) == 10
    assert relative(classes, their_classes) <= 1e-8 and relative(masks, their_masks) <= 1e-8
    # The comparison says something only if masks, tokens and layers matter.
    inside = (their_masks >= 0).double().flatten(3)  # (L, T, N, S)
    disagree = (inside.mean(2) - 0.5).abs() < 0.499  # positions open to some queries and closed to others
    assert disagree.double().mean(2).min() > 0.05
    assert 0.3 < inside.mean() < 0.9
    assert relative(their_masks[:, [0]], their_masks[:, [1]]) > 0.1
    assert relative(their_classes[1:], their_classes[:-1]) > 0.1


@torch.no_grad()
def test_logits__equal_transformers_in_fp32_until_rounding_flips_a_mask(build):
    """At the initial weights. A position on the threshold may be blocked on one side only; later layers differ then."""
    classes, masks, their_classes, their_masks = predict_both(build, torch.float32)
    strides = (32, 16, 8)
    compared = 0
    for task in range(len(TASKS)):
        for layer in range(10):
            errors = [differences(*pair)[layer, task] for pair in ((classes, their_classes), (masks, their_masks))]
            assert max(errors) <= 1e-5, (task, layer)
            compared += 1
            size = [side // strides[layer % 3] for side in SIZE]
            ours, theirs = (
                torch.nn.functional.interpolate(logits[layer, task][None], size=size, mode='bilinear')
                for logits in (masks, their_masks)
            )
            flipped = (ours < 0) != (theirs < 0)
            if flipped.any():
                assert theirs[flipped].abs().max() <= 1e-5 * theirs.abs().max(), (task, layer)
                break
    assert compared >= 20


class GivenFeatures(torch.nn.Module):
    """A backbone of `transformers` that returns what it was given."""

    def forward(self, pixel_values):
        return SimpleNamespace(feature_maps=self.feature_maps)


@torch.no_grad()
def test_logits__equal_transformers_with_the_shipped_weights():
    """The head alone: `transformers` has no ResNet of this width. In fp32 single mask bits may flip, on either side."""
    name = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
    ours = OneFormerInferencer(name).model.double()
    config = transformers.OneFormerConfig(
        backbone_config=transformers.ResNetConfig(
            hidden_sizes=[24, 48, 96, 192], layer_type='basic', out_features=['stage1', 'stage2', 'stage3', 'stage4']
        ),
        hidden_dim=64,
        conv_dim=64,
        mask_dim=64,
        num_attention_heads=4,
        num_queries=20,
        encoder_layers=2,
        encoder_feedforward_dim=256,
        decoder_layers=4,
        dim_feedforward=256,
        num_labels=7,
        is_training=False,
    )
    theirs = transformers.OneFormerForUniversalSegmentation(config).eval().double()
    table, state = KeyMap(HEAD), {}
    for key, tensor in ours.state_dict().items():
        if key.startswith('head.'):
            match = table.of_ours(key)
            tensor = tensor if match.order is None else match.order.to_theirs(tensor)
            state.update(zip(match.theirs, tensor.chunk(len(match.theirs)), strict=True))
    missing, unexpected = theirs.load_state_dict(state, strict=False)
    assert not unexpected and all(BACKBONE in key or key.startswith('criterion') for key in missing)

    photo = torch.from_numpy(draw_scene(96, np.random.default_rng(3)).image).permute(2, 0, 1)
    features = ours.extract_feat(((photo - ours.data_preprocessor.mean) / ours.data_preprocessor.std)[None].double())
    theirs.model.pixel_level_module.encoder = backbone = GivenFeatures()
    backbone.feature_maps = list(features)
    output = ours.head(features, [TASKS], every_layer=True)
    masks = torch.stack([output.mask_logits(layer)[0] for layer in range(4)])
    their_classes, their_masks = predict_theirs(theirs, torch.zeros(1, 3, 96, 96, dtype=torch.float64))
    assert relative(output.class_logits[:, 0], their_classes) < 1e-12
    assert relative(masks, their_masks) < 1e-12
    assert (their_classes[-1].argmax(-1) < 7).any(1).all(), 'every task finds something'


def test_unfold_order__equals_unfold():
    """The reordered weight on mmdet's order of pixels equals the original on theirs."""
    x = torch.randn(2, 5, 4, 6)
    weight = torch.randn(7, 20)
    corners = [x[:, :, row::2, column::2] for column in (0, 1) for row in (0, 1)]
    expected = torch.einsum('bchw,oc->bohw', torch.cat(corners, 1), weight).flatten(2)
    unfolded = torch.nn.functional.unfold(x, 2, stride=2)
    torch.testing.assert_close(torch.einsum('bcs,oc->bos', unfolded, unfold_order(weight)), expected)
    assert torch.equal(concatenation_order(unfold_order(weight)), weight)
