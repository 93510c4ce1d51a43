"""Weights that went through the converter as files: the same logits as transformers, there and back.

transformers runs DiNAT on a compiled library (natten) that does not install here, and 5.23 hands it (B, W, H, heads,
depth) where natten wants (B, heads, H, W, depth). A plain stand-in takes what it is given.
"""

import pytest
import torch

from mmseg_oneformer.checkpoints.checkpoint import load_weights, read_checkpoint
from mmseg_oneformer.models.text_mapper import tokenize
from mmseg_oneformer.tasks import CONTEXT_LENGTH, PROMPT_TOKENS, TASKS

transformers = pytest.importorskip('transformers', reason='parity needs `transformers`, which [dev] installs')

TOOL = 'model_converters/convert.py'
SIZE = (64, 96)


def neighbours(length, kernel, dilation):
    """Positions (length, kernel) that each position of an axis attends to, and their distance in steps."""
    places, steps = [], []
    for i in range(length):
        start, own = i % dilation, i // dilation
        count = len(range(start, length, dilation))
        first = min(max(own - kernel // 2, 0), count - kernel)
        places.append([start + dilation * (first + k) for k in range(kernel)])
        steps.append([first + k - own for k in range(kernel)])
    return torch.tensor(places), torch.tensor(steps)


def gather(x, kernel, dilation):
    """(B, heads, H, W, depth) to its neighbourhoods (B, heads, H, W, kernel, kernel, depth)."""
    rows, _ = neighbours(x.shape[2], kernel, dilation)
    columns, _ = neighbours(x.shape[3], kernel, dilation)
    return x[:, :, rows[:, None, :, None], columns[None, :, None, :]]


def natten2dqkrpb(query, key, rpb, kernel, dilation):
    query, key = (x.permute(0, 3, 2, 1, 4) for x in (query, key))
    scores = torch.einsum('bhxyd,bhxyijd->bhxyij', query, gather(key, kernel, dilation))
    _, rows = neighbours(key.shape[2], kernel, dilation)
    _, columns = neighbours(key.shape[3], kernel, dilation)
    bias = rpb[:, rows[:, None, :, None] + kernel - 1, columns[None, :, None, :] + kernel - 1]
    return (scores + bias).flatten(4)


def natten2dav(weights, value, kernel, dilation):
    value = value.permute(0, 3, 2, 1, 4)
    return torch.einsum('bhxyk,bhxykd->bhxyd', weights, gather(value, kernel, dilation).flatten(4, 5))


@pytest.fixture
def natten(monkeypatch):
    from transformers.models.dinat import modeling_dinat

    monkeypatch.setattr(modeling_dinat, 'natten2dqkrpb', natten2dqkrpb)
    monkeypatch.setattr(modeling_dinat, 'natten2dav', natten2dav)
    monkeypatch.setattr(modeling_dinat, 'requires_backends', lambda *_: None)


def predictions_of_ours(model, image):
    output = model.head(model.extract_feat(image), [TASKS], every_layer=False)
    return output.class_logits[-1, 0], output.mask_logits()[0]


def predictions_of_theirs(model, image):
    classes, masks = [], []
    for task in TASKS:
        ids = torch.zeros(1, CONTEXT_LENGTH, dtype=torch.int64)
        ids[0, : len(PROMPT_TOKENS[task])] = torch.tensor(PROMPT_TOKENS[task])
        output = model(pixel_values=image, task_inputs=ids)
        classes.append(output.class_queries_logits)
        masks.append(output.masks_queries_logits)
    return torch.cat(classes), torch.cat(masks)


def assert_equal_predictions(ours, theirs):
    image = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    with torch.no_grad():
        expected = predictions_of_theirs(theirs, image)
        actual = predictions_of_ours(ours, image)
    for one, other in zip(actual, expected, strict=True):
        for task in range(len(TASKS)):
            error = (one[task] - other[task]).abs().max() / other[task].abs().max()
            print(f'{TASKS[task]}: relative difference {error:.1e}')
            assert error <= 1e-8
        assert (other[0] - other[1]).abs().max() > 0.01 * other.abs().max()  # the token matters


def read_folder(folder):
    model, info = transformers.OneFormerForUniversalSegmentation.from_pretrained(
        folder, output_loading_info=True, dtype=torch.float64
    )
    assert not [what for what in info.values() if what]
    return model.eval()


@pytest.mark.parametrize('family', ['swin', 'r50', 'convnext', 'dinat'])
def test_converted__equals_transformers_there_and_back(narrow, build, randomize, natten, call_tool, tmp_path, family):
    config = narrow(family)
    ours = build(config, torch.float64)
    torch.save({'state_dict': ours.state_dict()}, tmp_path / 'ours.pth')
    assert call_tool(TOOL, 'ours.pth', 'folder', '--model', config, '--to', 'hf') == 0
    theirs = read_folder(tmp_path / 'folder')
    assert_equal_predictions(ours, theirs)

    randomize(theirs, seed=7)
    theirs.save_pretrained(tmp_path / 'changed')
    assert call_tool(TOOL, 'changed', 'changed.safetensors', '--model', config) == 0
    again = build(config, torch.float64, seed=9, text=False)
    load_weights(again, tmp_path / 'changed.safetensors')
    assert_equal_predictions(again, theirs)
    # Without the tool, as tools/test.py and mmdet's loader read the folder.
    direct = read_checkpoint(tmp_path / 'changed')
    assert direct['meta'] == {'converted_from': 'hf'}
    expected = again.state_dict()
    assert direct['state_dict'].keys() == expected.keys()
    assert all(torch.equal(direct['state_dict'][key], expected[key]) for key in expected)


def test_converted__text_branch_equals_transformers(narrow, build, call_tool, tmp_path, monkeypatch):
    """Their encoder does not use its causal mask: with the mask put in by hand the texts come out equal."""
    config = narrow('swin', **{'model.head.channels': 64})
    ours = build(config, torch.float64)
    torch.save({'state_dict': ours.state_dict()}, tmp_path / 'ours.pth')
    assert call_tool(TOOL, 'ours.pth', 'folder', '--model', config, '--to', 'hf', '--text') == 0
    theirs = read_folder(tmp_path / 'folder').model.text_mapper
    causal = torch.full((CONTEXT_LENGTH, CONTEXT_LENGTH), float('-inf'), dtype=torch.float64).triu(1)
    for layer in theirs.text_encoder.transformer.layers:
        attend = layer.self_attn.forward
        monkeypatch.setattr(
            layer.self_attn, 'forward', lambda *x, attend=attend, **settings: attend(*x, attn_mask=causal, **settings)
        )
    texts = ['a photo with a dog', 'a semantic photo']
    ids = torch.tensor([[*tokenize(text), *[0] * (CONTEXT_LENGTH - len(tokenize(text)))] for text in texts])
    with torch.no_grad():
        expected = theirs(ids[None])[0]  # the texts, then the context
        actual = ours.text_mapper.projector(ours.text_mapper.encode(texts))
    torch.testing.assert_close(actual, expected[:2], rtol=1e-9, atol=1e-12)
    assert torch.equal(ours.text_mapper.context.weight, expected[2:])
