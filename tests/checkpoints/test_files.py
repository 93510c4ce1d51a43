import functools
import http.server
import json
import pickle
import threading

import pytest
import torch
from mmengine.runner.checkpoint import CheckpointLoader
from safetensors.torch import save_file

from mmseg_oneformer.checkpoints.checkpoint import load_weights, read_checkpoint, save_safetensors
from mmseg_oneformer.checkpoints.conversion.convert import from_ours


@pytest.fixture(scope='module')
def model(narrow, build):
    return build(narrow('swin'), text=False)


@pytest.fixture(scope='module')
def published(model):
    """The model's weights as the reference code's file has them."""
    return from_ours(model.state_dict(), 'shi').state


def assert_same(checkpoint, model, form):
    assert checkpoint['meta'].get('converted_from') == form
    expected = model.state_dict()
    assert checkpoint['state_dict'].keys() == expected.keys()
    assert all(torch.equal(checkpoint['state_dict'][key], expected[key]) for key in expected)


def prefixed(state, prefix):
    return {prefix + key: tensor for key, tensor in state.items()}


WRAPPED = {
    'of detectron2': lambda state: {'model': state, 'optimizer': {'state': {}}, 'iteration': 9},
    'of mmengine': lambda state: {'state_dict': state, 'meta': {'iter': 9}},
    'plain': lambda state: state,
    'of DDP': lambda state: {'model': prefixed(state, 'module.')},
    'of compile': lambda state: {'model': prefixed(state, '_orig_mod.')},
    'of DDP in compile': lambda state: {'model': prefixed(prefixed(state, 'module.'), '_orig_mod.')},
    'averaged': lambda state: {'ema_state_dict': {**prefixed(state, 'module.'), 'steps': torch.tensor(9)}},
    'of lightning': lambda state: {'state_dict': prefixed(state, 'model.'), 'epoch': 9},
}


@pytest.mark.parametrize('wrap', WRAPPED.values(), ids=WRAPPED)
def test_read_checkpoint__reference_in_any_wrapper(tmp_path, model, published, wrap):
    torch.save(wrap(published), tmp_path / 'a.pth')
    assert_same(read_checkpoint(tmp_path / 'a.pth'), model, 'shi')


@pytest.mark.parametrize('wrap', WRAPPED.values(), ids=WRAPPED)
def test_read_checkpoint__ours_in_any_wrapper(tmp_path, model, wrap):
    torch.save(wrap(model.state_dict()), tmp_path / 'a.pth')
    assert_same(read_checkpoint(tmp_path / 'a.pth'), model, None)


def test_read_checkpoint__pkl_of_arrays(tmp_path, model, published):
    arrays = {key: tensor.numpy() for key, tensor in published.items()}
    (tmp_path / 'a.pkl').write_bytes(pickle.dumps({'model': arrays, '__author__': 'somebody'}))
    assert_same(read_checkpoint(tmp_path / 'a.pkl'), model, 'shi')


def test_read_checkpoint__folders_of_transformers(tmp_path, model):
    state = from_ours(model.state_dict(), 'hf').state
    keys = sorted(state)
    halves = {key: state[key].clone() for key in keys[::2]}, {key: state[key].clone() for key in keys[1::2]}
    folders = [tmp_path / name for name in ('whole', 'parts', 'old', 'old parts')]
    for folder in folders:
        folder.mkdir()
        (folder / 'config.json').write_text('{}')
    save_file({**halves[0], **halves[1]}, folders[0] / 'model.safetensors')
    torch.save(state, folders[2] / 'pytorch_model.bin')
    for folder, name, write in (
        (folders[1], 'model-{}.safetensors', save_file),
        (folders[3], 'pytorch_model-{}.bin', torch.save),
    ):
        for i, half in enumerate(halves):
            write(half, folder / name.format(i))
        index = {'weight_map': {key: name.format(i) for i, half in enumerate(halves) for key in half}}
        whole = name.replace('-{}', '') + '.index.json'
        (folder / whole).write_text(json.dumps(index))
    for folder in folders:
        assert_same(read_checkpoint(folder), model, 'hf')
    assert_same(read_checkpoint(folders[1] / 'model.safetensors.index.json'), model, 'hf')
    (folders[1] / 'model-0.safetensors').unlink()
    with pytest.raises(FileNotFoundError, match=r'no checkpoint at .*model-0\.safetensors'):
        read_checkpoint(folders[1])


def test_read_checkpoint__body_of_transformers_without_its_losses(tmp_path, model):
    state = from_ours(model.state_dict(), 'hf').state
    body = {key.removeprefix('model.'): tensor for key, tensor in state.items() if key.startswith('model.')}
    torch.save(body, tmp_path / 'a.bin')
    assert_same(read_checkpoint(tmp_path / 'a.bin'), model, 'hf')


def test_read_checkpoint__faulty_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match='has no weights; it should hold one of'):
        read_checkpoint(tmp_path)
    index = tmp_path / 'model.safetensors.index.json'
    # Another folder's file, its own folder, the one above, itself, no name at all.
    for name in ('../../secret.safetensors', '', '.', '..', index.name, 'config.json', 5):
        index.write_text(json.dumps({'weight_map': {'a': name}}))
        with pytest.raises(ValueError, match='not a file of weights beside it'):
            read_checkpoint(tmp_path)
    for text in ('[1]', '{"weight_map": {"a": ["b"]}}', '{"weight_map": {}}'):
        index.write_text(text)
        with pytest.raises(ValueError, match=r'is not an index of weights|names no files'):
            read_checkpoint(tmp_path)


def test_read_checkpoint__body_of_transformers_in_parts(tmp_path, model):
    """One part alone has no name that tells whose it is."""
    state = from_ours(model.state_dict(), 'hf').state
    body = {key.removeprefix('model.'): value.clone() for key, value in state.items() if key.startswith('model.')}
    files = {key: f'model-{key.partition(".")[0]}.safetensors' for key in body}
    for file in set(files.values()):
        save_file({key: tensor for key, tensor in body.items() if files[key] == file}, tmp_path / file)
    (tmp_path / 'model.safetensors.index.json').write_text(json.dumps({'weight_map': files}))
    assert_same(read_checkpoint(tmp_path), model, 'hf')


def test_read_checkpoint__leaves_other_networks_alone(tmp_path):
    """A lone backbone, or another model: same names, same prefix."""
    backbone = {'layers.0.blocks.0.norm1.weight': torch.ones(2), 'norm0.weight': torch.ones(2)}
    torch.save({'model': backbone}, tmp_path / 'a.pth')
    assert read_checkpoint(tmp_path / 'a.pth')['state_dict'].keys() == backbone.keys()
    other = prefixed(backbone, 'module.backbone.')
    torch.save(other, tmp_path / 'b.pth')
    assert read_checkpoint(tmp_path / 'b.pth')['state_dict'].keys() == other.keys()


def test_read_checkpoint__nothing_but_settings(tmp_path):
    torch.save({'epoch': 3, 'model': 'swin'}, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match='holds no state dict, only epoch, model; give a checkpoint'):
        read_checkpoint(tmp_path / 'a.pth')
    torch.save({'model': {0: torch.ones(1)}}, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match='holds no state dict, only model; give a checkpoint'):
        read_checkpoint(tmp_path / 'a.pth')


def test_read_checkpoint__description_of_another_kind_is_left_out(tmp_path):
    torch.save({'state_dict': {'a': torch.ones(1)}, 'meta': [1]}, tmp_path / 'a.pth')
    assert read_checkpoint(tmp_path / 'a.pth')['meta'] == {}


def test_load_weights__and_the_libraries_take_published_files(tmp_path, narrow, build, published, model):
    torch.save({'model': published}, tmp_path / 'published.pth')
    other = build(narrow('swin'), seed=5, text=False)
    load_weights(other, tmp_path / 'published.pth')
    assert_same({'meta': {}, 'state_dict': other.state_dict()}, model, None)
    assert_same(CheckpointLoader.load_checkpoint(str(tmp_path / 'published.pth')), model, 'shi')


def test_load_from__a_published_address(tmp_path, published, model, monkeypatch):
    """mmengine downloads by itself where `load_from` is an address: names are converted there too."""
    (tmp_path / 'server').mkdir()
    torch.save({'model': published}, tmp_path / 'server/published.pth')
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    handler = functools.partial(QuietHandler, directory=str(tmp_path / 'server'))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        checkpoint = CheckpointLoader.load_checkpoint(f'http://127.0.0.1:{server.server_port}/published.pth')
        server.shutdown()
    assert_same(checkpoint, model, 'shi')


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def test_load_weights__another_model_is_named(tmp_path, narrow, build, published):
    torch.save({'model': published}, tmp_path / 'p.pth')
    for options, sentence in (
        ({'model.head.num_classes': 7}, r'with 133 classes and 150 queries, but the model is .* with 7 classes'),
        ({'model.head.num_classes': 7}, r'--fine-tune-from .*p\.pth, or .* with --reset-classifier'),
        ({'model.head.num_queries': 90}, r'150 queries.* set model\.head\.num_queries=150'),
    ):
        with pytest.raises(ValueError, match=sentence):
            load_weights(build(narrow('swin', **options), text=False), tmp_path / 'p.pth')
    with pytest.raises(ValueError, match=r'like swin of 5 blocks, 24 wide, with .* but the model is convnext of 5'):
        load_weights(build(narrow('convnext'), text=False), tmp_path / 'p.pth')


def test_load_weights__names_registered_models_that_fit(tmp_path, narrow, build):
    """The sizes of the published ones, on a model that has nothing but these."""
    state = {
        'head.decoder.class_embed.weight': torch.zeros(151, 1),
        'head.query_embed.weight': torch.zeros(250, 1),
        'backbone.patch_embed.norm.weight': torch.zeros(192),
        **{f'backbone.levels.0.blocks.{i}.norm1.weight': torch.zeros(1) for i in range(30)},
        'backbone.levels.0.blocks.0.attn.rpb': torch.zeros(1, 21, 21),
        'head.pixel_decoder.level_embed': torch.zeros(1),
    }
    save_safetensors(state, tmp_path / 'a.safetensors', {})
    with pytest.raises(ValueError, match=r'looks like dinat-l \(kernel 11\) with 150 classes') as caught:
        load_weights(build(narrow('swin'), text=False), tmp_path / 'a.safetensors')
    fitting = str(caught.value).partition('that fit: ')[2].rstrip('.').split(', ')
    assert fitting == [f'oneformer_dinat-l_8xb2-160k_ade20k-{size}' for size in ('1280x1280', '640x640', '896x896')]
