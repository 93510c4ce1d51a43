import io
import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch

from mmseg_oneformer.checkpoints.checkpoint import read_checkpoint
from mmseg_oneformer.safe.load import safe_load

ARRAYS = {
    'float': np.arange(6, dtype=np.float32).reshape(2, 3),
    'columns first': np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
    'big-endian': np.arange(4, dtype='>i4'),
    'half': np.ones((1, 2, 1), np.float16),
    'truth': np.array([True, False]),
    'scalar': np.float32(2.5),
    'empty': np.zeros((0, 3), np.float32),
}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert torch.equal(found[name], torch.from_numpy(np.array(array.astype(array.dtype.newbyteorder('='))))), name


@pytest.mark.parametrize('protocol', range(6))
def test_pkl__arrays_of_any_protocol(tmp_path, protocol):
    content = {'model': OrderedDict(ARRAYS), '__author__': 'third_party', 'matching_heuristics': True, 'n': (1, [2.5])}
    (tmp_path / 'a.pkl').write_bytes(pickle.dumps(content, protocol=protocol))
    found = safe_load(tmp_path / 'a.pkl')
    assert (found['__author__'], found['matching_heuristics'], found['n']) == ('third_party', True, [1, [2.5]])
    assert_same(found['model'], ARRAYS)
    assert_same(read_checkpoint(tmp_path / 'a.pkl')['state_dict'], ARRAYS)


@pytest.mark.parametrize('new', [b'numpy.core.multiarray', b'numpy._core.multiarray'])
def test_pkl__names_of_numpy_1_and_2(tmp_path, new):
    text = pickle.dumps(ARRAYS['float'], protocol=0)
    for old in (b'numpy._core.multiarray', b'numpy.core.multiarray'):
        text = text.replace(old, new)
    (tmp_path / 'a.pkl').write_bytes(text)
    assert_same({'a': safe_load(tmp_path / 'a.pkl')}, {'a': ARRAYS['float']})


def test_pkl__strings_of_python_2(tmp_path):
    """Python 2 wrote bytes as `str`: here the numbers of an array, the codes of its type and a key."""
    text = (
        b'\x80\x02}U\x05conv1cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R'
        b'(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb'
        b'\x89U\x08\x00\x00\x80?\x00\x00\x00\xc0tbs.'
    )
    (tmp_path / 'R-50.pkl').write_bytes(text)
    assert_same(safe_load(tmp_path / 'R-50.pkl'), {'conv1': np.array([1.0, -2.0], np.float32)})


def test_pkl__tensors_as_the_reference_repository_passes_on_backbones(tmp_path):
    weight = torch.arange(12.0).view(3, 4)
    content = {'model': {'a': weight, 'part': weight[1:, ::2], 'p': torch.nn.Parameter(weight.half())}}
    (tmp_path / 'swin.pkl').write_bytes(pickle.dumps(content))
    found = read_checkpoint(tmp_path / 'swin.pkl')['state_dict']
    assert torch.equal(found['a'], weight)
    assert torch.equal(found['part'], weight[1:, ::2])
    assert torch.equal(found['p'], weight.half())


def test_pkl__that_torch_wrote(tmp_path):
    torch.save({'model': {'a': torch.ones(2)}}, tmp_path / 'a.pkl')
    assert torch.equal(read_checkpoint(tmp_path / 'a.pkl')['state_dict']['a'], torch.ones(2))


class Call:
    """Pickles into a call."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def storage_that_calls(target):
    """A tensor's storage as plain pickles hold it, whose own bytes are a pickle that makes a folder."""
    from torch.storage import _load_from_bytes

    inner = io.BytesIO()
    torch.save(Call(os.mkdir, target), inner, _use_new_zipfile_serialization=False)
    return Call(_load_from_bytes, inner.getvalue())


@pytest.mark.parametrize(
    'attack',
    [
        lambda target: Call(os.mkdir, target),
        lambda target: Call(eval, f'__import__("os").mkdir({target!r})'),
        lambda target: Call(getattr, target, 'upper'),
        storage_that_calls,
        lambda target: np.array([Call(os.mkdir, target)], dtype=object),
        lambda target: Call(np.load, target),
    ],
    ids=['call', 'eval', 'getattr', 'inner pickle', 'array of objects', 'function of numpy'],
)
def test_pkl__exploit_runs_nothing(tmp_path, attack):
    target = str(tmp_path / 'pwned')
    (tmp_path / 'evil.pkl').write_bytes(pickle.dumps({'model': attack(target)}))
    with pytest.raises(ValueError, match=r'evil\.pkl is (rejected|broken)'):
        read_checkpoint(tmp_path / 'evil.pkl')
    assert not os.path.exists(target)  # noqa: PTH110


def test_pkl__the_exploit_is_real(tmp_path):
    """Without the reader it does run."""
    target = tmp_path / 'pwned'
    pickle.loads(pickle.dumps(Call(os.mkdir, str(target))))
    assert target.is_dir()


@pytest.mark.parametrize('cut', [0, 1, 30, 200])
def test_pkl__truncated(tmp_path, cut):
    (tmp_path / 'a.pkl').write_bytes(pickle.dumps(ARRAYS, protocol=2)[:cut])
    with pytest.raises(ValueError, match=r'a\.pkl is (rejected or )?broken'):
        safe_load(tmp_path / 'a.pkl')


def test_pkl__numbers_that_do_not_fill_the_shape(tmp_path):
    text = pickle.dumps(np.arange(3, dtype=np.float32), protocol=2).replace(b'K\x03\x85', b'K\x04\x85')
    (tmp_path / 'a.pkl').write_bytes(text)
    with pytest.raises(ValueError, match='is broken'):
        safe_load(tmp_path / 'a.pkl')
