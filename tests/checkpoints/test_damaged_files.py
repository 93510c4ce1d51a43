"""Files of weights are known by their content, and what is wrong with one is a sentence."""

import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mmseg_oneformer.checkpoints.checkpoint import load_weights, read_checkpoint
from mmseg_oneformer.checkpoints.files import read_file
from mmseg_oneformer.errors import UserError
from mmseg_oneformer.zoo.model_file import is_model_file

STATE = {'weight': torch.arange(6.0).view(2, 3), 'bias': torch.ones(2)}


def write_torch(path, content=STATE, **settings):
    torch.save(content, path, **settings)


def write_legacy(path, content=STATE):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def write_safetensors(path, content=STATE):
    save_file(content, path)


def write_arrays(path, content=STATE):
    path.write_bytes(pickle.dumps({'model': {key: value.numpy() for key, value in content.items()}}, protocol=2))


WRITERS = [write_torch, write_legacy, write_safetensors, write_arrays]


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors', '.bin', '.pkl', '.ckpt', ''])
@pytest.mark.parametrize('write', WRITERS)
def test_read_file__by_content_whatever_the_suffix(tmp_path, write, suffix):
    path = tmp_path / f'model{suffix}'
    write(path)
    state = read_file(path)['state_dict']
    assert all(torch.equal(state[key], STATE[key]) for key in STATE)
    assert is_model_file(path) is (suffix == '.safetensors' or write is write_safetensors)


@pytest.mark.parametrize('write', WRITERS)
def test_read_file__mutated_bytes_are_read_or_one_sentence(tmp_path, write):
    whole = tmp_path / 'whole.pth'
    write(whole)
    data, rng, refused = whole.read_bytes(), np.random.default_rng(0), 0
    for number in range(150):
        changed = bytearray(data)
        for _ in range(rng.integers(1, 6)):
            # The pickles and headers, which are parsed, are at the front.
            place = int(rng.integers(len(changed) if number % 3 else min(len(changed), 700)))
            changed[place : place + int(rng.integers(0, 3))] = rng.bytes(int(rng.integers(0, 3)))
        path = tmp_path / f'{number}.pth'
        path.write_bytes(changed[: rng.integers(len(changed) + 1)] if number % 5 == 0 else changed)
        try:
            read_file(path)
        except UserError as error:
            refused += 1
            assert path.name in str(error) and '\n' not in str(error).strip()
    assert refused > 50


def test_read_file__an_archive_that_unpacks_to_more(tmp_path):
    plain, packed = tmp_path / 'a.pth', tmp_path / 'b.pth'
    write_torch(plain, {'weight': torch.zeros(1000, 1000)})
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, 'w', zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    assert packed.stat().st_size < 10_000
    with pytest.raises(UserError, match=r'b\.pth unpacks to 4 MB'):
        read_file(packed)


@pytest.mark.parametrize(
    ('spoil', 'words'),
    [
        (torch.Tensor.to_sparse, 'sparse'),
        (lambda tensor: tensor.to('meta'), 'without numbers'),
        (lambda tensor: tensor.to(torch.complex64), 'sparse, quantised or complex'),
        (lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8), 'sparse, quantised'),
    ],
)
def test_read_checkpoint__a_tensor_of_another_kind_is_named(tmp_path, spoil, words):
    path = tmp_path / 'a.pth'
    torch.save({'weight': torch.ones(2, 2), 'bias': spoil(torch.ones(3))}, path)
    with pytest.raises(UserError, match=rf'a\.pth: the tensor bias is {words}'):
        read_file(path)


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_read_checkpoint__a_number_that_is_not_finite_is_named(tmp_path, value, dtype):
    state = {key: tensor.to(dtype) for key, tensor in STATE.items()}
    state['bias'] = state['bias'].clone()
    state['bias'][1] = value
    path = tmp_path / 'a.pth'
    write_torch(path, {'state_dict': state, 'meta': {}})
    with pytest.raises(UserError, match=r'a\.pth: the tensor bias has numbers that are not finite.*earlier checkpoint'):
        read_checkpoint(path)
    with pytest.raises(UserError, match='the tensor bias'):
        load_weights(nn.Linear(3, 2), path)
    assert read_file(path, finite=False)['state_dict'].keys() == state.keys()


def test_read_checkpoint__numbers_of_every_kind_are_looked_at(tmp_path):
    state = OrderedDict(
        count=torch.tensor(3), empty=torch.zeros(0), flag=torch.tensor(True), large=torch.tensor(torch.finfo().max)
    )
    write_torch(tmp_path / 'a.pth', state)
    assert read_checkpoint(tmp_path / 'a.pth')['state_dict'].keys() == state.keys()


@pytest.mark.parametrize('meta', ['[' * 100_000, '[]', 'null', '{', '5'])
def test_read_file__a_description_that_is_none(tmp_path, meta):
    path = tmp_path / 'a.safetensors'
    save_file(STATE, path, {'meta': meta})
    try:
        assert read_file(path)['meta'] == {}
    except UserError as error:
        assert 'a.safetensors' in str(error)


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04', b'\x80', b'\x80\x04.', b'{}', b'\xff' * 50, b'<html>'])
def test_read_file__what_is_no_checkpoint(tmp_path, content):
    for suffix in ('.pth', '.safetensors', '.pkl', '.bin'):
        path = tmp_path / f'a{suffix}'
        path.write_bytes(content)
        with pytest.raises(UserError, match=path.name):
            read_file(path)


def test_read_file__a_deeply_nested_pickle(tmp_path):
    path = tmp_path / 'a.pkl'
    path.write_bytes(b'\x80\x02' + b']' * 50_000 + b'a' * 49_999 + b'.')
    with pytest.raises(UserError, match=r'a\.pkl'):
        read_file(path)


@pytest.mark.parametrize('index', ['[]', 'null', '{"weight_map": []}', '{"weight_map": {"a": 5}}', '[' * 100_000])
def test_read_file__an_index_that_is_none(tmp_path, index):
    path = tmp_path / 'pytorch_model.bin.index.json'
    path.write_text(index)
    with pytest.raises(UserError, match='index'):
        read_file(path)


def test_read_checkpoint__an_attention_mask_may_contain_infinity(tmp_path):
    """A training may save such a buffer, so it has to be read again when the run is resumed."""
    mask = torch.full((5, 5), -float('inf')).triu(1)
    write_torch(tmp_path / 'a.pth', {**STATE, 'text.attn_mask': mask})
    assert read_checkpoint(tmp_path / 'a.pth')['state_dict'].keys() == {*STATE, 'text.attn_mask'}
    for spoiled in (mask * float('nan'), mask + 1, -mask, mask[:, :4], mask[0]):
        write_torch(tmp_path / 'b.pth', {**STATE, 'text.attn_mask': spoiled})
        with pytest.raises(UserError, match=r'the tensor text\.attn_mask'):
            read_checkpoint(tmp_path / 'b.pth')
