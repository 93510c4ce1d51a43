"""The tool: its table, its files, its sentences."""

import json
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmseg_oneformer.apis import OneFormerInferencer
from mmseg_oneformer.checkpoints.checkpoint import TRAINING_ONLY, read_checkpoint
from mmseg_oneformer.checkpoints.conversion.convert import from_ours
from mmseg_oneformer.checkpoints.conversion.hub_config import check_hub_config
from mmseg_oneformer.checkpoints.files import read_file
from mmseg_oneformer.errors import UserError
from mmseg_oneformer.zoo.weights import find_weights

TOOL = 'model_converters/convert.py'
OTHER_CLASSES = {'model.head.num_classes': 7, 'model.thing_ids': [4, 5]}
METAINFO = 'test_dataloader.dataset.metainfo'


@pytest.fixture(scope='module')
def config(narrow):
    return narrow('swin', **{'model.head.channels': 64})


@pytest.fixture(scope='module')
def model(config, build):
    return build(config)


@pytest.fixture(scope='module')
def published(model):
    return from_ours(model.state_dict(), 'shi').state


@pytest.fixture
def reference_file(tmp_path, published):
    torch.save({'model': published}, tmp_path / 'published.pth')


def error(capsys):
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    return line


def rows(text):
    """The table: part -> its numbers."""
    found = re.findall(r'^(\S[\w ,]*?) {2,}(\S.*)$', text, re.MULTILINE)
    return {part: numbers.split() for part, numbers in found}


@pytest.mark.usefixtures('reference_file')
@pytest.mark.parametrize('out', ['ours.safetensors', 'ours.pth'])
def test_convert__reference_to_ours(call_tool, tmp_path, capsys, config, model, out):
    assert call_tool(TOOL, 'published.pth', out, '--model', config) == 0
    told = capsys.readouterr().out
    table = rows(told)
    assert table['backbone'] == ['91', '91', '-', '-', '-', '91/91']
    assert table['pixel decoder'] == ['37', '37', '-', '-', '-', '37/37']
    assert table['text branch, losses'] == ['23', '22', '1', '-', '-', '22/22']
    assert 'dropped 1: follows from the number of classes (criterion.empty_weight)' in told
    written = read_file(tmp_path / out)
    expected = model.state_dict()
    assert written['state_dict'].keys() == expected.keys()
    assert all(torch.equal(written['state_dict'][key], expected[key]) for key in expected)
    meta = written['meta']
    assert (meta['converted_from'], meta['source'], meta['model']) == ('shi', 'published.pth', config.stem)
    assert meta['dataset_meta']['classes'][:3] == ['person', 'bicycle', 'car']
    assert meta['dataset_meta']['thing_ids'] == list(range(80))
    infer = OneFormerInferencer(str(config), tmp_path / out, device='cpu')
    assert infer.dataset_meta['classes'][132] == 'rug-merged'


@pytest.mark.usefixtures('reference_file')
def test_convert__and_back_is_the_same_file(call_tool, tmp_path, config, published):
    assert call_tool(TOOL, 'published.pth', 'ours.safetensors', '--model', config) == 0
    assert call_tool(TOOL, 'ours.safetensors', 'again.pth', '--model', config, '--to', 'shi') == 0
    again = torch.load(tmp_path / 'again.pth', weights_only=True)['model']
    assert again.keys() == published.keys()
    assert all(torch.equal(again[key], published[key]) for key in published)


class Head(nn.Module):
    """Renames on loading what has no version, as the reference code's head does."""

    _version = 2

    def __init__(self):
        super().__init__()
        self.pixel_decoder = nn.Module()
        self.pixel_decoder.mask_features = nn.Conv2d(64, 64, 1)

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *rest):
        if (local_metadata.get('version') or 0) < 2:
            for key in [key for key in state_dict if key.startswith(prefix)]:
                state_dict[key.replace(prefix, prefix + 'pixel_decoder.')] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


@pytest.mark.usefixtures('reference_file')
def test_convert__reference_code_finds_the_version_it_needs(call_tool, tmp_path, config, published):
    assert call_tool(TOOL, 'published.pth', 'again.pth', '--model', config, '--to', 'shi') == 0
    network = nn.Module()
    network.sem_seg_head = Head()
    again = torch.load(tmp_path / 'again.pth', weights_only=True)['model']
    assert not network.load_state_dict(again, strict=False).missing_keys
    assert network.load_state_dict(dict(again), strict=False).missing_keys  # the trap is one
    loaded = network.sem_seg_head.pixel_decoder.mask_features.weight
    assert torch.equal(loaded, published['sem_seg_head.pixel_decoder.mask_features.weight'])


@pytest.mark.usefixtures('reference_file')
def test_convert__derived_buffers_survive_our_file(call_tool, tmp_path, capsys, config, published):
    changed = {**published, 'criterion.empty_weight': published['criterion.empty_weight'] / 3}
    torch.save({'model': changed}, tmp_path / 'odd.pth')
    assert call_tool(TOOL, 'odd.pth', 'ours.safetensors', '--model', config) == 0
    assert 'warning: criterion.empty_weight is not 1 for each class' in capsys.readouterr().out
    assert call_tool(TOOL, 'ours.safetensors', 'again.pth', '--model', config, '--to', 'shi') == 0
    again = torch.load(tmp_path / 'again.pth', weights_only=True)['model']
    assert torch.equal(again['criterion.empty_weight'], changed['criterion.empty_weight'])


def test_convert__frozen_and_synchronised_norms(call_tool, tmp_path, narrow, build):
    for name, requires_grad in (('frozen', False), ('sync', True)):
        config = narrow('r50', **{'model.backbone.norm_cfg': {'type': 'BN', 'requires_grad': requires_grad}})
        torch.save({'state_dict': build(config).state_dict()}, tmp_path / f'{name}.pth')
        assert call_tool(TOOL, f'{name}.pth', f'{name}_shi.pth', '--model', config, '--to', 'shi') == 0
        keys = torch.load(tmp_path / f'{name}_shi.pth', weights_only=True)['model'].keys()
        assert ('backbone.res2.0.conv1.norm.num_batches_tracked' in keys) == requires_grad
        assert 'backbone.res5.2.conv3.norm.running_var' in keys


@pytest.mark.usefixtures('reference_file')
def test_convert__folder_of_transformers(call_tool, tmp_path, config):
    assert call_tool(TOOL, 'published.pth', 'folder', '--model', config, '--to', 'hf') == 0
    names = {path.name for path in (tmp_path / 'folder').iterdir()}
    assert names == {'config.json', 'preprocessor_config.json', 'class_info.json', 'model.safetensors'}
    settings = json.loads((tmp_path / 'folder/config.json').read_text())
    assert settings['id2label']['132'] == 'rug-merged'
    assert (settings['num_queries'], settings['decoder_layers'], settings['is_training']) == (150, 4, False)
    photos = json.loads((tmp_path / 'folder/preprocessor_config.json').read_text())
    assert photos['size'] == {'shortest_edge': 64, 'longest_edge': 128}
    assert photos['image_mean'] == pytest.approx([0.485, 0.456, 0.406])
    assert photos['image_std'] == pytest.approx([0.229, 0.224, 0.225])
    assert json.loads((tmp_path / 'folder/class_info.json').read_text())['80']['isthing'] == 0
    assert not [key for key in read_checkpoint(tmp_path / 'folder')['state_dict'] if key.startswith(TRAINING_ONLY)]
    transformers = pytest.importorskip('transformers')
    folder = tmp_path / 'folder'
    processor = transformers.OneFormerImageProcessor.from_pretrained(folder, repo_path=str(folder))
    assert processor.metadata['thing_ids'] == list(range(80))
    assert transformers.AutoConfig.from_pretrained(folder).backbone_config.window_size == 7


@pytest.mark.usefixtures('reference_file')
def test_convert__text_branch_as_asked_for(call_tool, tmp_path, capsys, config):
    for option, form, out, expected in (
        ((), 'mm', 'a.pth', True),
        (('--no-text',), 'mm', 'b.pth', False),
        ((), 'hf', 'c', False),
        (('--text',), 'hf', 'd', True),
    ):
        assert call_tool(TOOL, 'published.pth', out, '--model', config, '--to', form, *option) == 0
        state = read_checkpoint(tmp_path / out)['state_dict']
        assert any(key.startswith('text_mapper.') for key in state) == expected
    capsys.readouterr()
    assert call_tool(TOOL, 'b.pth', 'e.pth', '--model', config) == 0  # what is not there is not missing
    assert rows(capsys.readouterr().out)['backbone'][-1] == '91/91'


@pytest.mark.usefixtures('reference_file')
@pytest.mark.parametrize('named', [False, True])
def test_convert__reset_classifier(call_tool, tmp_path, capsys, config, narrow, model, named):
    names = tuple(f'thing {i}' for i in range(7))
    other = narrow(
        'swin', **{'model.head.channels': 64, **OTHER_CLASSES, METAINFO: {'classes': names, 'thing_ids': ()}}
    )
    assert call_tool(TOOL, 'published.pth', 'a.pth', '--model', other) == 2
    sentence = error(capsys)
    assert 'with 133 classes and 150 queries, but the model is' in sentence
    assert '--reset-classifier' in sentence
    source = 'published.pth'
    if named:  # the file says which classes it has
        source = 'named.pth'
        assert call_tool(TOOL, 'published.pth', source, '--model', config) == 0
        capsys.readouterr()
    assert call_tool(TOOL, source, 'a.pth', '--model', other, '--reset-classifier') == 0
    told = capsys.readouterr().out
    assert rows(told)['decoder'] == ['66', '64', '2', '-', '2', '66/66']
    assert 'reset 2: other classes (head.decoder.class_embed.weight, ...)' in told
    written = read_checkpoint(tmp_path / 'a.pth')
    assert written['meta']['dataset_meta']['classes'] == list(names)
    assert written['meta']['dataset_meta']['thing_ids'] == [4, 5]
    expected = model.state_dict()
    for key, tensor in written['state_dict'].items():
        if key.startswith('head.decoder.class_embed'):
            assert len(tensor) == 8
        else:
            assert torch.equal(tensor, expected[key]), key


@pytest.mark.usefixtures('reference_file')
def test_convert__reset_classifier_for_as_many_classes(call_tool, tmp_path, capsys, config, narrow, model):
    """Classes that are known to be the same keep their head; what names none, or others, does not."""
    names = tuple(f'thing {i}' for i in range(133))
    other = narrow('swin', **{'model.head.channels': 64, METAINFO: {'classes': names, 'thing_ids': tuple(range(80))}})
    assert call_tool(TOOL, 'published.pth', 'coco.pth', '--model', config) == 0
    head = model.state_dict()['head.decoder.class_embed.weight']
    for source, name, kept in (('coco.pth', config, True), ('coco.pth', other, False), ('published.pth', other, False)):
        assert call_tool(TOOL, source, 'a.pth', '--model', name, '--reset-classifier') == 0
        written = read_checkpoint(tmp_path / 'a.pth')
        assert torch.equal(written['state_dict']['head.decoder.class_embed.weight'], head) == kept
        classes = written['meta']['dataset_meta']['classes']
        assert (classes == list(names)) != kept
        assert ('reset 2: other classes' in capsys.readouterr().out) != kept


@pytest.mark.usefixtures('reference_file')
def test_convert__mistakes_are_one_sentence_and_leave_nothing(call_tool, tmp_path, capsys, config, narrow, published):
    whole = (tmp_path / 'published.pth').read_bytes()
    (tmp_path / 'half.pth').write_bytes(whole[: len(whole) // 2])
    torch.save({'model': {**published, 'sem_seg_head.x': torch.ones(1)}}, tmp_path / 'unknown.pth')
    torch.save({'model': {key: published[key] for key in list(published)[5:]}}, tmp_path / 'missing.pth')
    torch.save({'layer.weight': torch.ones(1)}, tmp_path / 'other.pth')
    more_queries = narrow('swin', **{'model.head.channels': 64, 'model.head.num_queries': 170})
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full/file').touch()
    before = {path.name for path in tmp_path.iterdir()}
    for args, sentence in (
        (('nope.pth', 'a.pth', '--model', config), 'There is no checkpoint at nope.pth'),
        (('half.pth', 'a.pth', '--model', config), 'half.pth is broken'),
        (
            ('unknown.pth', 'a.pth', '--model', config),
            r'1 tensors \(such as sem_seg_head\.x\) of the reference code match',
        ),
        (('missing.pth', 'a.pth', '--model', config), r'5 tensors are missing \(such as'),
        (
            ('other.pth', 'a.pth', '--model', config),
            r'is not a OneFormer: none of its 1 tensors \(such as layer\.weight\)',
        ),
        (
            ('published.pth', 'a.pth', '--model', 'oneformer_swin'),
            r'neither a config file nor the name of a model \(did you',
        ),
        (
            ('published.pth', 'a.pth', '--model', narrow('r50')),
            'looks like swin of 5 blocks, 24 wide, with 133 classes',
        ),
        (('published.pth', 'a.pth', '--model', more_queries), r'or set model\.head\.num_queries=150'),
        (('published.pth', 'a.bin', '--model', config), r'a\.bin cannot be OUT .* ends in \.safetensors or \.pth'),
        (('published.pth', 'a.safetensors', '--model', config, '--to', 'shi'), r'OUT of --to shi, which ends in \.pth'),
        (('published.pth', 'full', '--model', config, '--to', 'hf'), 'full exists and is not an empty folder'),
        (('published.pth', 'b.pth', '--model', config, '--to', 'hf'), 'no suffix, since it becomes a folder'),
    ):
        assert call_tool(TOOL, *args) == 2
        assert re.search(sentence, error(capsys)), sentence
        assert {path.name for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize('text', ['[]', 'null', '3', '"x"', '\xff', '[' * 100_000])
def test_check_hub_config__what_is_no_config(tmp_path, text):
    (tmp_path / 'config.json').write_bytes(text.encode('latin-1'))
    with pytest.raises(UserError, match=r'config\.json is not .*; get it again'):
        check_hub_config(tmp_path, Config({'model': {'backbone': {}}}))


@pytest.mark.parametrize('settings', [[], 'x', {'dilations': 5}, {'dilations': [1, 2]}])
def test_check_hub_config__settings_in_another_form(tmp_path, settings):
    (tmp_path / 'config.json').write_text(json.dumps({'backbone_config': settings}))
    assert len(check_hub_config(tmp_path, Config({'model': {'backbone': {}}}))) == isinstance(settings, dict)


def test_check_hub_config__what_no_tensor_shows(tmp_path, narrow):
    from mmengine.config import Config

    cfg = Config.fromfile(narrow('dinat'))
    path = tmp_path / 'config.json'
    dilations = [list(stage) for stage in cfg.model.backbone.dilations]
    assert check_hub_config(tmp_path, cfg) == []
    path.write_text(json.dumps({'backbone_config': {'dilations': dilations}, 'pre_norm': False}))
    assert check_hub_config(tmp_path, cfg) == []
    path.write_text(json.dumps({'backbone_config': {'dilations': [[1, 2], *dilations[1:]]}}))
    assert 'is it another model?' in check_hub_config(tmp_path, cfg)[0]
    path.write_text(json.dumps({'pre_norm': True}))
    with pytest.raises(ValueError, match='has pre_norm = True, which is unsupported'):
        check_hub_config(tmp_path, cfg)


@pytest.mark.parametrize('option', [{'values': 'features'}, {'start': 'zeros'}])
def test_convert__ablation_has_no_place_elsewhere(call_tool, tmp_path, capsys, narrow, build, option):
    """The tensors are the published model's; with them another network would run there."""
    config = narrow('swin', **{f'model.head.query_initializer.{key}': value for key, value in option.items()})
    torch.save({'state_dict': build(config, text=False).state_dict()}, tmp_path / 'a.pth')
    for form, out, owner in (('hf', 'folder', 'transformers'), ('shi', 'b.pth', 'the reference code')):
        assert call_tool(TOOL, 'a.pth', out, '--model', config, '--to', form) == 2
        assert f'{owner} has only the published query initializer' in error(capsys)
        assert not Path(tmp_path / out).exists()


def test_published_file_to_pictures(call_tool, tmp_path):
    """The commands of docs/weights.md, on trained weights under the reference code's names."""
    name = 'oneformer_r18-narrow_1xb16-6k_shapes-96x96'
    trained = read_checkpoint(find_weights(name))
    state = {
        key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in trained['state_dict'].items()
    }
    torch.save({'model': from_ours(state, 'shi').state}, tmp_path / 'published.pth')
    assert call_tool('dataset_converters/make_shapes.py', '--out', 'data', '--train', 1, '--val', 2) == 0
    assert call_tool(TOOL, 'published.pth', 'shapes.safetensors', '--model', name) == 0
    predictions = {}
    for folder, weights in (
        ('a', ()),
        ('b', ('--weights', 'shapes.safetensors')),
        ('c', ('--weights', 'published.pth')),
    ):
        assert call_tool('infer.py', 'data/val', '--model', name, '--out-dir', folder, *weights) == 0
        predictions[folder] = json.loads((tmp_path / folder / 'panoptic.json').read_text())
        assert list((tmp_path / folder).rglob('overlays/*'))
    assert predictions['a']['annotations'][0]['segments_info']
    assert predictions['a'] == predictions['b'] == predictions['c']


@pytest.mark.usefixtures('reference_file')
def test_convert__things_belong_to_the_names_of_the_file(call_tool, tmp_path, config):
    assert call_tool(TOOL, 'published.pth', 'a.pth', '--model', config) == 0
    options = ('--model', config, '--cfg-options', 'model.thing_ids=[0]')
    assert call_tool(TOOL, 'a.pth', 'b.pth', *options) == 0
    assert read_file(tmp_path / 'b.pth')['meta']['dataset_meta']['thing_ids'] == list(range(80))
