import json

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmseg_oneformer.apis import OneFormerInferencer
from mmseg_oneformer.checkpoints.checkpoint import read_checkpoint
from mmseg_oneformer.datasets.shapes import ShapesPanoptic
from mmseg_oneformer.files import file_digest
from mmseg_oneformer.zoo.configs import find_config
from mmseg_oneformer.zoo.metafile import read_zoo

MODEL = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
TOOL = 'model_converters/publish_model.py'
META = {'dataset_meta': ShapesPanoptic.METAINFO, 'seed': 3, 'iter': 5}


@pytest.fixture
def trained(tmp_path):
    """A checkpoint as training writes it, text branch and all."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(Config.fromfile(find_config(MODEL)).model)
    model.init_weights()
    checkpoint = {'state_dict': model.state_dict(), 'meta': META, 'optimizer': {'state': {}}}
    torch.save(checkpoint, tmp_path / 'iter_5.pth')
    return model


def write_results(path, weights, metrics):
    path.write_text(json.dumps({'weights': 'iter_5.pth', 'weights_sha256': file_digest(weights), 'metrics': metrics}))


def entry_of(printed):
    """The metafile entry at the end of what was printed."""
    (entry,) = yaml.safe_load(printed[printed.index('- Name:') :])
    return entry


def test_publish__small_and_ready_to_use(call_tool, trained, tmp_path):
    command = (TOOL, MODEL, 'iter_5.pth', 'out/small.safetensors', '--half')
    assert call_tool(*command, '--note', 'by hand') == 0
    published = read_checkpoint(tmp_path / 'out/small.safetensors')
    assert (published['meta']['seed'], published['meta']['iter'], published['meta']['note']) == (3, 5, 'by hand')
    assert not [key for key in published['state_dict'] if key.startswith(('text_mapper', 'criterion'))]
    weight = published['state_dict']['head.query_embed.weight']
    assert torch.equal(weight, trained.head.query_embed.weight.half())
    infer = OneFormerInferencer(MODEL, tmp_path / 'out/small.safetensors', device='cpu')
    assert infer.dataset_meta['classes'] == tuple(ShapesPanoptic.METAINFO['classes'])


def test_publish__name_has_the_hash_and_the_entry_the_scores(call_tool, trained, tmp_path, capsys):
    own = {'PQ': 94.84, 'PQ_th': 92.8, 'SQ': 90.0, 'AP': 92.4, 'AP50': 99.0, 'mIoU': None}
    write_results(tmp_path / 'results.json', tmp_path / 'iter_5.pth', {'own': own})
    assert call_tool(TOOL, MODEL, 'iter_5.pth', 'out') == 0
    (published,) = (tmp_path / 'out').iterdir()
    assert published.name == f'{MODEL}-{file_digest(published)[:8]}.safetensors'
    entry = entry_of(capsys.readouterr().out)
    shipped = read_zoo()[MODEL]
    assert (entry['Name'], entry['Config'], entry['Weights']) == (MODEL, shipped.config, published.name)
    assert entry['Metadata'] == {
        'Training Data': 'Shapes',
        'Iterations': 5,
        'Batch Size': 16,
        'Parameters': shipped.parameters,
    }
    assert [(result['Task'], result['Metrics']) for result in entry['Results']] == [
        ('Panoptic Segmentation', {'PQ': 94.8, 'PQ_th': 92.8}),
        ('Instance Segmentation', {'AP': 92.4}),
    ]


def test_publish__scores_of_a_token_matrix_are_those_of_the_own_tokens(call_tool, trained, tmp_path, capsys):
    row = {'PQ': 1.0, 'AP': 2.0, 'mIoU': 3.0}
    matrix = {
        task: {name: 10 * i + value for name, value in row.items()}
        for i, task in enumerate(('semantic', 'instance', 'panoptic'))
    }
    write_results(tmp_path / 'matrix.json', tmp_path / 'iter_5.pth', matrix)
    assert call_tool(TOOL, MODEL, 'iter_5.pth', 'out', '--results', 'matrix.json') == 0
    metrics = [result['Metrics'] for result in entry_of(capsys.readouterr().out)['Results']]
    assert metrics == [{'PQ': 21.0}, {'AP': 12.0}, {'mIoU': 3.0}]


def test_publish__scores_of_another_checkpoint_are_not_used(call_tool, trained, tmp_path, capsys):
    torch.save({'state_dict': {}}, tmp_path / 'other.pth')
    write_results(tmp_path / 'results.json', tmp_path / 'other.pth', {'own': {'PQ': 1.0}})
    assert call_tool(TOOL, MODEL, 'iter_5.pth', 'out') == 0
    printed = capsys.readouterr().out
    assert 'measured with another file' in printed and 'Results' not in entry_of(printed)
    assert call_tool(TOOL, MODEL, 'iter_5.pth', 'out', '--results', 'results.json') == 2
    assert 'run tools/test.py again' in capsys.readouterr().err
    assert call_tool(TOOL, MODEL, 'iter_5.pth', 'out', '--results', 'nowhere.json') == 2
    assert 'There are no results at nowhere.json' in capsys.readouterr().err


def test_publish__text_branch_is_kept_on_request(call_tool, trained, tmp_path, capsys):
    assert call_tool(TOOL, MODEL, 'iter_5.pth', 'whole.safetensors', '--keep-text-branch') == 0
    published = read_checkpoint(tmp_path / 'whole.safetensors')['state_dict']
    assert set(published) == set(trained.state_dict())
    assert all(torch.equal(published[key], value) for key, value in trained.state_dict().items())
    printed = capsys.readouterr().out
    assert entry_of(printed)['Metadata']['Parameters'] == read_zoo()[MODEL].parameters
    assert f'{sum(value.numel() for value in trained.parameters()):,} parameters' in printed


def test_publish__averaged_weights_or_those_of_the_last_step(call_tool, trained, tmp_path, capsys):
    averaged = trained.state_dict()
    last = {f'module.{key}': value + 1 for key, value in averaged.items()}
    checkpoint = {'state_dict': averaged, 'ema_state_dict': {'steps': torch.tensor(5), **last}, 'meta': META}
    torch.save(checkpoint, tmp_path / 'ema.pth')
    key = 'head.query_embed.weight'
    for choice, expected in (((), 'averaged'), (('--ema', 'averaged'), 'averaged'), (('--ema', 'last'), 'last')):
        assert call_tool(TOOL, MODEL, 'ema.pth', 'out.safetensors', *choice) == 0
        assert f'published: {expected}' in capsys.readouterr().out
        published = read_checkpoint(tmp_path / 'out.safetensors')
        assert published['meta']['ema'] == expected
        wanted = averaged[key] if expected == 'averaged' else averaged[key] + 1
        assert torch.equal(published['state_dict'][key], wanted)
    assert call_tool(TOOL, MODEL, 'iter_5.pth', 'out.safetensors', '--ema', 'last') == 2
    assert 'leave out --ema' in capsys.readouterr().err


def test_publish__mistakes(call_tool, trained, tmp_path, capsys):
    assert call_tool(TOOL, MODEL, 'iter_5.pth', 'small.pth') == 2
    assert 'it must be a folder or end in .safetensors' in capsys.readouterr().err
    torch.save({'state_dict': trained.state_dict()}, tmp_path / 'bare.pth')
    assert call_tool(TOOL, MODEL, 'bare.pth', 'small.safetensors') == 2
    assert 'does not name its classes' in capsys.readouterr().err
    assert not list(tmp_path.glob('small*'))
